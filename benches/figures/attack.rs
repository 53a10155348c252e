//! Attacks from one address: the requests of another address beside the same requests without an
//! attack, and the memory under a flood of passwords.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rollcall_test_support::attack::{Attack, Report, Victim};

use crate::comparison::now;
use crate::http_client::{HttpConnection, request};
use crate::memory::mb;
use crate::nodes::{Node, Nodes};
use crate::process::raise_open_files;
use crate::{Args, builds, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// Connections that the node serves. Fewer than those of the attacker.
const MAX_CONNECTIONS: &str = "1024";

/// Time in which an attack takes hold before the victim is measured.
const BEFORE_MEASUREMENT: Duration = Duration::from_secs(2);

/// Longest time of a request that counts as a success.
const GOOD: Duration = Duration::from_secs(1);

/// Smallest share of each kind of request that must succeed within [`GOOD`], in percent.
const MUST_SUCCEED: f64 = 99.0;

/// Users on the list that slow readers ask for.
const LISTED: u64 = 20_000;

/// Logins of the attacker at once. The limit on guesses admits no more from one address.
const LOGINS: usize = 58;

/// Connections of the flood of passwords. Half of them register users, half log in.
const PASSWORD_CONNECTIONS: u64 = 64;

/// Files that the benchmark itself opens, besides the connections of the attacker.
const OTHER_FILES: u64 = 200;

/// Largest growth of the resident memory under the flood of passwords, in bytes.
const MAX_GROWTH: u64 = 64_000_000;

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let unknown = arguments.attacks.iter().find(|&wanted| Attack::ALL.iter().all(|attack| name(*attack) != *wanted));
    if let Some(unknown) = unknown {
        anyhow::bail!("no attack is called {unknown}; there are {}", Attack::ALL.map(name).join(", "));
    }
    raise_open_files(arguments.attack_connections + OTHER_FILES)?;
    println!(
        "attack from one address | other address, within 1 s | p50, p99 and undisturbed p99 of each kind of request"
    );
    let mut missed = Vec::new();
    let wanted = |attack: &Attack| arguments.attacks.is_empty() || arguments.attacks.contains(&name(*attack));
    for attack in Attack::ALL.into_iter().filter(wanted) {
        if measure_attack(attack, arguments)? < MUST_SUCCEED {
            missed.push(format!("{attack:?}: less than {MUST_SUCCEED}% within {GOOD:?}"));
        }
    }
    let growth = if arguments.attacks.is_empty() { measure_memory(arguments)? } else { 0 };
    if growth > MAX_GROWTH {
        missed.push(format!("passwords: memory grew by {}, more than {}", mb(growth), mb(MAX_GROWTH)));
    }
    // With --quick the figures mean nothing.
    anyhow::ensure!(missed.is_empty() || arguments.quick, "{}", missed.join("; "));
    Ok(())
}

/// The name of an attack on the command line: `half-heads`.
fn name(attack: Attack) -> String {
    let mut name = String::new();
    for letter in format!("{attack:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The share of the kind of request that succeeded least, in percent.
///
/// The attacker and the victim have a thread each, so that the victim does not wait for the
/// attacker's own work.
fn measure_attack(attack: Attack, arguments: &Args) -> anyhow::Result<f64> {
    let attacker = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let build = &builds::all(arguments)?[0];
    let listed = if attack == Attack::SlowReaders { LISTED } else { 0 };
    progress(&format!("attack: starting a node for {attack:?}"));
    let rounds = usize::try_from(arguments.attack_rounds)?;
    // Enough registrations for the victim.
    let burst = (2 * rounds + 2).to_string();
    let mut variables = vec![("ROLLCALL_MAX_CONNECTIONS", MAX_CONNECTIONS)];
    if attack == Attack::Registrations {
        variables.extend([("ROLLCALL_REGISTRATION_RATE", "2"), ("ROLLCALL_REGISTRATION_BURST", &burst)]);
    }
    let connections = match attack {
        Attack::Logins => LOGINS,
        _ => usize::try_from(arguments.attack_connections)?,
    };
    let nodes = Nodes::start_with(build, 1, TTL_SECONDS, &variables, |bucket| users::fill(bucket, listed))?;
    let node = nodes.all[nodes.leader()?].api;
    let victim = other.block_on(Victim::register(node));
    let undisturbed = other.block_on(victim.work("undisturbed", rounds));
    let running = attacker.block_on(attack.start(node, connections));
    sleep(BEFORE_MEASUREMENT);
    let disturbed = other.block_on(victim.work("disturbed", rounds));
    let answers = running.summary();
    attacker.shutdown_background();
    let succeeded = disturbed.kinds.iter().map(|results| results.percent_within(GOOD)).fold(100.0, f64::min);
    println!("{attack:?} ({connections}) | {succeeded:.1}% | {}", times(&disturbed, &undisturbed));
    progress(&format!("the attacker got {answers}"));
    disturbed.failures().take(3).for_each(progress);
    Ok(succeeded)
}

/// The times of each kind of request, in milliseconds.
fn times(disturbed: &Report, undisturbed: &Report) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let kinds = disturbed.kinds.iter().zip(&undisturbed.kinds).map(|(during, before)| {
        let (p50, p99) = (ms(during.percentile(50)), ms(during.percentile(99)));
        format!("{} {p50:.1}, {p99:.1} ({:.1}) ms", during.kind, ms(before.percentile(99)))
    });
    kinds.collect::<Vec<_>>().join(" | ")
}

/// A user of the flood of passwords, as the body of a request.
fn user(name: &str) -> String {
    format!(r#"{{"username":"{name}","password":"correct horse"}}"#)
}

/// Registers or logs in on one connection until `until`. Returns how often it succeeded.
fn flood(node: &Node, index: u64, until: Instant) -> anyhow::Result<u64> {
    let (mut connection, mut succeeded) = (HttpConnection::connect(node.api)?, 0);
    for count in 0.. {
        if now() > until {
            break;
        }
        let (path, body) = if index.is_multiple_of(2) {
            ("/register", user(&format!("m-{index}-{count}")))
        } else {
            ("/login", user(&format!("m-{index}")))
        };
        succeeded += u64::from(connection.send(&request("POST", path, "", &body))?.status < 300);
    }
    Ok(succeeded)
}

/// Growth of the resident memory while connections register and log in with passwords, in bytes.
fn measure_memory(arguments: &Args) -> anyhow::Result<u64> {
    let build = &builds::all(arguments)?[0];
    progress("attack: starting a node for passwords");
    let nodes = Nodes::start(build, 1, TTL_SECONDS, |_| Ok(()))?;
    let node = &nodes.all[nodes.leader()?];
    let before = node.process.memory()?;
    let mut connection = HttpConnection::connect(node.api)?;
    for index in (1..PASSWORD_CONNECTIONS).step_by(2) {
        connection.send(&request("POST", "/register", "", &user(&format!("m-{index}"))))?.expect(201)?;
    }
    let until = now() + Duration::from_secs(arguments.attack_seconds);
    let mut most = before;
    let succeeded = thread::scope(|scope| -> anyhow::Result<[u64; 2]> {
        let threads: Vec<_> =
            (0..PASSWORD_CONNECTIONS).map(|index| scope.spawn(move || flood(node, index, until))).collect();
        while now() < until {
            sleep(Duration::from_millis(200));
            most = most.max(node.process.memory()?);
        }
        let mut succeeded = [0, 0];
        for (index, thread) in threads.into_iter().enumerate() {
            succeeded[index % 2] += thread.join().expect("it does not panic")?;
        }
        Ok(succeeded)
    })?;
    let growth = most - before;
    println!(
        "{PASSWORD_CONNECTIONS} connections that register or log in with passwords for {} s: {} registrations and {} \
         logins succeeded; resident memory {} before, at most {}, growth {}",
        arguments.attack_seconds,
        succeeded[0],
        succeeded[1],
        mb(before),
        mb(most),
        mb(growth)
    );
    Ok(growth)
}
