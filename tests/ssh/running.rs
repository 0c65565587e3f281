//! A client that runs: what it says is waited for, never slept for.

use std::process::{Command, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// A started program and what it has said so far.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Heard<ChildStdout>,
    errors: Heard<ChildStderr>,
}

struct Heard<S> {
    stream: S,
    text: Vec<u8>,
}

impl Running {
    /// With pipes at all three ends.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().expect("the program is installed");
        let output = Heard { stream: child.stdout.take().unwrap(), text: Vec::new() };
        let errors = Heard { stream: child.stderr.take().unwrap(), text: Vec::new() };
        Self { input: child.stdin.take(), child, output, errors }
    }

    /// Waits until its output holds this text, and returns all of it.
    pub async fn says(&mut self, text: &str) -> String {
        self.output.until(text).await
    }

    /// Waits until its errors hold this text, and returns all of them.
    pub async fn warns(&mut self, text: &str) -> String {
        self.errors.until(text).await
    }

    /// Waits for the line of errors that goes on from this text.
    pub async fn warning(&mut self, text: &str) -> String {
        self.warns(text).await;
        let from = self.errors.all().find(text).unwrap() + text.len();
        loop {
            if let Some((line, _)) = self.errors.all()[from..].split_once('\n') {
                return line.trim_end().to_owned();
            }
            assert!(self.errors.more().await, "it ended in the middle of a line");
        }
    }

    pub async fn types(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits for the end of its output.
    pub async fn output_ends(&mut self) {
        self.output.rest().await;
    }

    /// Its exit status, its output and its errors.
    pub async fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.input.take());
        tokio::join!(self.output.rest(), self.errors.rest());
        let status = self.child.wait().await.unwrap();
        (status.code(), self.output.all(), self.errors.all())
    }
}

impl<S: AsyncRead + Unpin> Heard<S> {
    fn all(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    async fn until(&mut self, text: &str) -> String {
        while !self.all().contains(text) {
            assert!(self.more().await, "it ended without `{text}`: {}", self.all());
        }
        self.all()
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.text).await.unwrap() > 0
    }

    async fn rest(&mut self) {
        let _ = self.stream.read_to_end(&mut self.text).await;
    }
}
