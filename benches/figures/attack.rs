//! Attacks from one address: the requests of another address beside the same requests without an
//! attack, and the memory under a flood of passwords.

use std::thread::{self, sleep};
use std::time::Duration;

use rollcall_test_support::attack::{Attack, Report, measure_victim};
use tokio::runtime::Runtime;

use crate::comparison::now;
use crate::http_client::{HttpConnection, request};
use crate::memory::mb;
use crate::nodes::Nodes;
use crate::{Args, builds, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// Connections that the node serves. Fewer than those of the attacker.
const MAX_CONNECTIONS: &str = "1024";

/// Time in which an attack takes hold before the victim is measured.
const BEFORE_MEASUREMENT: Duration = Duration::from_secs(2);

/// Longest time of a request that counts as a success.
const GOOD: Duration = Duration::from_secs(1);

/// Users on the list that slow readers ask for.
const LISTED: u64 = 20_000;

/// Connections of the flood of passwords.
const PASSWORD_CONNECTIONS: u64 = 64;

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("attack from one address | other address: succeeded within 1 s | p99 | p99 without the attack");
    for attack in Attack::ALL {
        measure_attack(attack, arguments, &runtime)?;
    }
    measure_memory(arguments)
}

fn measure_attack(attack: Attack, arguments: &Args, runtime: &Runtime) -> anyhow::Result<()> {
    let build = &builds::all(arguments)?[0];
    let listed = if attack == Attack::SlowReaders { LISTED } else { 0 };
    progress(&format!("attack: starting a node for {attack:?}"));
    let variables = [("ROLLCALL_MAX_CONNECTIONS", MAX_CONNECTIONS)];
    let nodes = Nodes::start_with(build, 1, TTL_SECONDS, &variables, |bucket| users::fill(bucket, listed))?;
    let node = nodes.all[nodes.leader()?].api;
    let rounds = usize::try_from(arguments.attack_rounds)?;
    let connections = usize::try_from(arguments.attack_connections)?;
    let (undisturbed, disturbed) = runtime.block_on(async {
        let undisturbed = measure_victim(node, "undisturbed", rounds).await;
        let running = attack.start(node, connections).await;
        tokio::time::sleep(BEFORE_MEASUREMENT).await;
        let disturbed = measure_victim(node, "disturbed", rounds).await;
        drop(running);
        (undisturbed, disturbed)
    });
    let ms = |report: &Report| format!("{:.1} ms", report.p99().as_secs_f64() * 1000.0);
    let succeeded = disturbed.percent_within(GOOD);
    println!("{attack:?} ({connections}) | {succeeded:.1}% | {} | {}", ms(&disturbed), ms(&undisturbed));
    disturbed.failures.iter().take(3).for_each(|failure| progress(failure));
    Ok(())
}

/// Resident memory while connections register and log in with passwords.
fn measure_memory(arguments: &Args) -> anyhow::Result<()> {
    let build = &builds::all(arguments)?[0];
    progress("attack: starting a node for passwords");
    let nodes = Nodes::start(build, 1, TTL_SECONDS, |_| Ok(()))?;
    let node = &nodes.all[nodes.leader()?];
    let login = r#"{"username":"mallory","password":"correct horse"}"#;
    HttpConnection::connect(node.api)?.send(&request("POST", "/register", "", login))?.expect(201)?;
    let before = node.process.memory()?;
    let until = now() + Duration::from_secs(arguments.attack_seconds);
    let (mut most, mut answered) = (before, 0);
    thread::scope(|scope| -> anyhow::Result<()> {
        let flood = |index: u64| {
            move || -> anyhow::Result<u64> {
                let (mut connection, mut hashed) = (HttpConnection::connect(node.api)?, 0);
                for count in 0.. {
                    if now() > until {
                        break;
                    }
                    let user = format!(r#"{{"username":"m-{index}-{count}","password":"correct horse"}}"#);
                    let (path, body) =
                        if index.is_multiple_of(2) { ("/register", user.as_str()) } else { ("/login", login) };
                    hashed += u64::from(connection.send(&request("POST", path, "", body))?.status < 300);
                }
                Ok(hashed)
            }
        };
        let threads: Vec<_> = (0..PASSWORD_CONNECTIONS).map(|index| scope.spawn(flood(index))).collect();
        while now() < until {
            sleep(Duration::from_millis(200));
            most = most.max(node.process.memory()?);
        }
        for thread in threads {
            answered += thread.join().expect("it does not panic")?;
        }
        Ok(())
    })?;
    println!(
        "{PASSWORD_CONNECTIONS} connections that register or log in with passwords for {} s: {answered} accepted; \
         resident memory {} before, at most {}, growth {}",
        arguments.attack_seconds,
        mb(before),
        mb(most),
        mb(most - before)
    );
    Ok(())
}
