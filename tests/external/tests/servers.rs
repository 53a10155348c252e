//! Servers of stores, and the browser. Each server runs once for all tests, on a free port of
//! 127.0.0.1, with its data in memory. Each test has a bucket of its own.
//!
//! | program | variable with its program | else |
//! |---|---|---|
//! | moto | `ROLLCALL_MOTO` | `target/external/venv/bin/moto_server` |
//! | Azurite | `ROLLCALL_AZURITE` | `target/external/npm/node_modules/.bin/azurite-blob` |
//! | Chromium | `ROLLCALL_CHROMIUM` | `/usr/bin/chromium` |

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequestBody;

/// Account and key of Azurite. Its documentation has them: they are no secret.
pub(crate) const AZURE_ACCOUNT: &str = "devstoreaccount1";
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A program, and how to install it.
pub(crate) struct Tool {
    variable: &'static str,
    path: &'static str,
    install: &'static str,
    arguments: &'static [&'static str],
}

const MOTO: Tool = Tool {
    variable: "ROLLCALL_MOTO",
    path: "venv/bin/moto_server",
    install: "python3 -m venv target/external/venv && target/external/venv/bin/pip install moto[s3]==5.2.5 flask flask-cors",
    arguments: &["--host", "127.0.0.1", "--port", "0"],
};

const AZURITE: Tool = Tool {
    variable: "ROLLCALL_AZURITE",
    path: "npm/node_modules/.bin/azurite-blob",
    install: "npm install --prefix target/external/npm azurite@3.37.0",
    // The library's version of the API is newer than Azurite's.
    arguments: &[
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        "0",
        "--inMemoryPersistence",
        "--disableTelemetry",
        "--skipApiVersionCheck",
    ],
};

/// The sandbox of Chromium does not work as root. The other arguments keep it from opening windows
/// and from calling its maker's servers.
pub(crate) const CHROMIUM: Tool = Tool {
    variable: "ROLLCALL_CHROMIUM",
    path: "/usr/bin/chromium",
    install: "apt-get install chromium",
    arguments: &[
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
};

/// A running server. It ends with this process, also if this process is killed; see
/// [`spawn`].
struct Server {
    url: String,
    shell: Mutex<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        end(self.shell.get_mut().expect("nobody panics while it is locked"));
    }
}

/// Starts a program by a shell, with its output piped. The shell ends the program when its own
/// standard input ends, so the program also ends if this process is killed.
pub(crate) fn spawn(tool: &Tool, more_arguments: &[&str]) -> Child {
    let script = "\"$@\" 2>&1 & program=$!; cat >/dev/null; kill $program; wait $program";
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(tool.program())
        .args(tool.arguments)
        .args(more_arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell")
}

/// Ends a program that [`spawn`] started.
pub(crate) fn end(shell: &mut Child) {
    drop(shell.stdin.take());
    let _ = shell.wait();
}

impl Tool {
    fn program(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/external");
        let program = std::env::var_os(self.variable).map_or_else(|| folder.join(self.path), PathBuf::from);
        let (path, variable, install) = (program.display(), self.variable, self.install);
        assert!(program.is_file(), "{path} is missing: install it with `{install}`, or name its program in {variable}");
        program
    }

    fn start(&self, more_arguments: &[&str]) -> Server {
        let mut shell = spawn(self, more_arguments);
        let mut lines = BufReader::new(shell.stdout.take().expect("it is piped")).lines();
        let mut output = String::new();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            output += &line;
            let (_, url) = line.split_once(" on http")?;
            Some(format!("http{}", url.trim()))
        });
        let url = url.unwrap_or_else(|| panic!("{} did not start: {output}", self.path));
        // The server must be able to write its log.
        std::thread::spawn(move || lines.for_each(drop));
        Server { url, shell: Mutex::new(shell) }
    }
}

/// URL of moto.
pub(crate) fn moto() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(|| MOTO.start(&[])).url
}

/// URL of Azurite, without the account.
pub(crate) fn azurite() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(|| AZURITE.start(&[])).url
}

/// Azurite with https, and a certificate of its own. It has no container.
pub(crate) struct HttpsAzurite {
    pub(crate) url: String,
    /// The certificate in PEM format.
    pub(crate) certificate: PathBuf,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl HttpsAzurite {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        let arguments = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
        let made = Command::new("openssl")
            .args(arguments)
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate])
            .output()
            .expect("openssl is missing: install the package openssl");
        assert!(made.status.success(), "{made:?}");
        let server = AZURITE.start(&["--cert", &certificate, "--key", &key]);
        Self { url: server.url.clone(), certificate: certificate.into(), _server: server, _folder: folder }
    }
}

/// A name that no other test uses.
fn free_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rollcall-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a bucket in moto. Returns its name.
pub(crate) async fn new_bucket() -> String {
    let name = free_name();
    let response = http_client().put(format!("{}/{name}", moto())).send().await.expect("moto runs");
    assert!(response.status().is_success(), "{response:?}");
    name
}

/// Makes a container in Azurite. Returns its name.
pub(crate) async fn new_container() -> String {
    let name = free_name();
    let url = format!("{}/{AZURE_ACCOUNT}/{name}?restype=container", azurite());
    let key = AzureAccessKey::try_new(AZURE_KEY).expect("valid");
    let mut request =
        http::Request::put(url.as_str()).header("content-length", "0").body(HttpRequestBody::empty()).unwrap();
    AzureAuthorizer::new(&AzureCredential::AccessKey(key), AZURE_ACCOUNT).try_authorize(&mut request).expect("signed");
    let response = http_client().put(url).headers(request.headers().clone()).send().await.expect("Azurite runs");
    assert!(response.status().is_success(), "{response:?}");
    name
}

fn http_client() -> reqwest::Client {
    rollcall_test_support::cluster::http_client()
}
