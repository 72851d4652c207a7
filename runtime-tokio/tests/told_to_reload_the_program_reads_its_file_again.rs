//! The program itself, by signal: told to reload it goes by what its file says now, wholly or not at
//! all, and says so.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sluice_runtime_tokio::auth::KeyHash;

/// An upstream that refuses everything, and the credentials that it is sent.
fn upstream() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sent, credentials) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let head = lines.by_ref().map(|line| line.expect("text")).take_while(|l| !l.is_empty());
            let head: Vec<_> = head.collect();
            let credential = head.iter().find_map(|line| line.strip_prefix("x-api-key: "));
            if sent.send(credential.expect("a credential").to_owned()).is_err() {
                return;
            }
            let refusal = "HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\n\
                           connection: close\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(refusal.as_bytes()).expect("room");
        }
    });
    (address, credentials)
}

/// The program, serving.
struct Program {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
    secret: PathBuf,
    upstream: SocketAddr,
    /// How often its file has been written.
    written: u64,
}

impl Program {
    fn start(upstream: SocketAddr) -> Self {
        let of = |what: &str| {
            std::env::temp_dir().join(format!("sluice-reload-{}-{what}", std::process::id()))
        };
        let (file, secret) = (of("sluice.toml"), of("secret"));
        fs::write(&secret, "first\n").expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        let place = ([127, 0, 0, 1], 0).into();
        write(&file, &text(&["alice"], &secret, upstream, ""), 0);
        command.args(["serve", "--workers", "2", "--config"]).arg(&file);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (address, admin, written) = (place, place, 0);
        let mut program = Self { child, stderr, address, admin, file, secret, upstream, written };
        let (serving, _) = program.until("serving");
        let at = |field: &str| serving[field].as_str().and_then(|at| at.parse().ok());
        program.address = at("listen").expect("an address");
        program.admin = at("admin").expect("an address");
        program
    }

    /// Its messages up to this one: that, and those before it.
    fn until(&mut self, message: &str) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).expect("text") > 0, "it ended: {before:?}");
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            if line["message"] == message {
                return (line, before);
            }
            before.push(line);
        }
    }

    /// Writes its file, and tells it to read that.
    fn reload(&mut self, users: &[&str], more: &str) {
        self.written += 1;
        let text = text(users, &self.secret, self.upstream, more);
        write(&self.file, &text, self.written);
        self.hang_up();
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-HUP", &pid]).status().expect("a shell's kill");
        assert!(done.success());
    }

    fn ask(&self, user: &str) -> String {
        let body = "{\"model\":\"m\"}";
        let length = body.len();
        let head = format!("POST /v1/messages HTTP/1.1\r\nx-api-key: sk-{user}\r\n");
        send(self.address, &format!("{head}content-length: {length}\r\n"), body)
    }

    /// Which configuration operators are told is in force.
    fn config(&self) -> String {
        let answer = send(self.admin, "GET /debug/runtime HTTP/1.1\r\n", "");
        let (_, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["config"].as_str().expect("text").to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.secret);
    }
}

fn send(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{head}host: h\r\nconnection: close\r\n\r\n{body}").expect("room");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer to its end");
    text
}

fn text(users: &[&str], secret: &std::path::Path, upstream: SocketAddr, more: &str) -> String {
    let mut text = format!(
        "server = {{ listen = \"127.0.0.1:0\", admin_listen = \"127.0.0.1:0\" }}\n\
         log.access = \"off\"\ngroups = [{{ name = \"main\" }}]\n{more}\n\
         [[accounts]]\nname = \"one\"\nbase_url = \"http://{upstream}\"\n\
         api_key = \"file:{}\"\nconcurrency = 1\ngroups = [\"main\"]\n",
        secret.display()
    );
    for user in users {
        let hash = KeyHash::of(&format!("sk-{user}")).to_hex();
        text += &format!(
            "[[users]]\nname = \"{user}\"\nconcurrency = 1\n\
             keys = [{{ sha256 = \"{hash}\", group = \"main\" }}]\n"
        );
    }
    text
}

/// Writes a file for the n-th time: a file system's clock may not see the difference.
fn write(path: &std::path::Path, text: &str, nth: u64) {
    fs::write(path, text).expect("a file");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + nth);
    File::options().write(true).open(path).and_then(|f| f.set_modified(time)).expect("a file");
}

#[test]
fn the_whole_file_or_nothing_of_it() {
    let (address, credentials) = upstream();
    let mut program = Program::start(address);
    assert!(program.ask("bob").starts_with("HTTP/1.1 401 "));
    assert!(program.ask("alice").starts_with("HTTP/1.1 400 "));
    assert_eq!(credentials.recv().expect("sent"), "first");
    let at_first = program.config();

    // A mistake: nothing changes, and every one is told with its place and what to do.
    program.reload(&["alice", "bob"], "policy.ping_interval = 7\nlimits.headers_max = \"few\"");
    let (stays, before) = program.until("the configuration stays as it was");
    assert_eq!((&stays["mistakes"], &stays["config"]), (&2.into(), &at_first.as_str().into()));
    let told: Vec<_> = before.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(told.len(), 2, "{before:?}");
    assert_eq!((&told[1]["field"], &told[1]["line"]), (&"limits.headers_max".into(), &5.into()));
    assert_eq!(told[1]["value"], "\"few\"");
    assert!(told[1]["remedy"].as_str().is_some_and(|r| r.starts_with("must be a whole number")));
    assert_eq!(program.config(), at_first);
    assert!(program.ask("bob").starts_with("HTTP/1.1 401 "));

    // A good one: all of it, secrets too, but for what cannot change.
    fs::write(&program.secret, "second\n").expect("a file");
    program.reload(&["bob"], "limits.headers_max = 7");
    let (taken, before) = program.until("the new configuration is in force");
    let warned: Vec<_> = before.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(warned.len(), 1, "{before:?}");
    assert_eq!(warned[0]["field"], "limits.headers_max");
    assert_eq!(taken["config"], program.config());
    assert_ne!(taken["config"], at_first);
    for _ in 0..8 {
        // Whichever worker serves it.
        assert!(program.ask("alice").starts_with("HTTP/1.1 401 "));
        assert!(program.ask("bob").starts_with("HTTP/1.1 400 "));
        assert_eq!(credentials.recv().expect("sent"), "second");
    }

    // The same file with another secret.
    fs::write(&program.secret, "third\n").expect("a file");
    program.hang_up();
    program.until("the new configuration is in force");
    assert!(program.ask("bob").starts_with("HTTP/1.1 400 "));
    assert_eq!(credentials.recv().expect("sent"), "third");

    // One that is older than that in force is not taken for a newer one.
    program.written = 0;
    program.reload(&["alice"], "policy.ping_interval_ms = 7");
    let (stays, _) = program.until("the configuration stays as it was");
    assert_eq!(stays["config"], taken["config"]);
    assert!(program.ask("bob").starts_with("HTTP/1.1 400 "));
}
