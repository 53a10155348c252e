//! Registrations per second, beside a bare loop of durable file creations on the same disk.

use crate::comparison::{median, now};
use crate::http_client::request;
use crate::nodes::Nodes;
use crate::{Args, builds, durable_creates, load, progress, users};

const TTL_SECONDS: u64 = 30;

/// Content of a file that is about as long as a profile.
const PROFILE: &[u8] = &[b'x'; 160];

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let builds = builds::all(arguments)?;
    let this = &builds[0];
    for count in [1, 3] {
        progress(&format!("registrations: starting {count} nodes"));
        let nodes = Nodes::start(this, count, TTL_SECONDS, |_| Ok(()))?;
        let leader = nodes.all[nodes.leader()?].api;
        let (each, connections) = (arguments.registrations, arguments.connections);
        let (mut node_rates, mut loop_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            let requests: Vec<_> = (round * each..(round + 1) * each).map(registration).collect();
            let rate = rate(each, || load::send(leader, connections, each, &requests, 201))?;
            let root = nodes.bucket().with_file_name(format!("loop-{round}"));
            let bare = self::rate(each, || durable_creates::create(&root, connections, each, PROFILE))?;
            progress(&format!("registrations, round {}: {rate:.0} a second, bare loop {bare:.0}", round + 1));
            node_rates.push(rate);
            loop_rates.push(bare);
            ratios.push(rate / bare);
        }
        let [rate, bare, ratio] = [node_rates, loop_rates, ratios].map(|mut values| median(&mut values));
        println!(
            "registrations, nodes: {count}: {rate:.0} a second; bare loop of durable creates: {bare:.0}; ratio {ratio:.2}"
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(count: u64, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let started = now();
    work()?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn registration(number: u64) -> Vec<u8> {
    let body = format!(r#"{{"username":"{}","addr":"{}"}}"#, users::name(number), users::addr(number));
    request("POST", "/register", "Content-Type: application/json\r\n", &body)
}
