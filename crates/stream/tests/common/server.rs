//! A server of Debian's packages, started by a test on loopback and ended by its process id.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    pub port: u16,
    pub folder: tempfile::TempDir,
    child: Option<Child>,
}

/// Says so where `program` is not installed.
pub fn skipped(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed (apt-get install {program})");
    }
    !there
}

impl Server {
    pub fn new() -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Server { port, folder: tempfile::tempdir().unwrap(), child: None }
    }

    /// Starts it and waits until it can be connected to.
    pub fn start(&mut self, program: &str, arguments: &[&str]) {
        self.kill();
        let log = std::fs::File::create(self.folder.path().join("server.out")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{program} does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts `nats-server` with JetStream.
    pub fn start_nats(&mut self) {
        let folder = self.folder.path();
        let config = format!(
            "listen: \"127.0.0.1:{}\"\nmax_payload: 32MB\n\
             jetstream {{ store_dir: \"{}\", max_file_store: 256MB }}\n",
            self.port,
            folder.display()
        );
        let path = folder.join("nats.conf");
        std::fs::write(&path, config).unwrap();
        self.start("nats-server", &["-c", path.to_str().unwrap()]);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
