//! Runs the stand-in for Google Drive until Ctrl-C, and prints the variables with which a node uses
//! it: `cargo run -p rollcall-test-support --example drive_server`.

use std::future::pending;

use rollcall_test_support::drive_server::DriveServer;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = DriveServer::start();
    for (name, value) in server.variables() {
        println!("export {name}={value}");
    }
    pending::<()>().await;
}
