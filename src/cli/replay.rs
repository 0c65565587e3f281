//! `postern replay`: what was done in a session, from its recording, which is checked on the way.
//!
//! A session over Postgres is shown as statements, one over SSH as commands, file operations, what the
//! terminal showed, and the streams of programs without one. All of that was written by others, and is made
//! cleaned of control sequences.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Seek, Stdout, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use audit::ssh::{Cast, Ssh};
use audit::{Event, Fold, Kind, Reader, Start, Tail};
use clap::Args;
use policies::SessionId;

use super::{Failure, Shape, client};
use crate::terminal::{Paint, json_text};
use ssh::SshRenderer;
pub(super) use style::proof;
use style::{Closing, List, Style};

mod ssh;
mod style;

/// The longest pause that is played, in microseconds.
const PAUSE_MAX: u64 = 2_000_000;

/// Show what was done in a session: statements with rows, bytes, duration and SQLSTATE; over SSH commands,
/// file operations and the terminal
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The session
    #[arg(required_unless_present = "file")]
    session: Option<SessionId>,
    /// A recording's file, instead of asking the gateway
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    file: Option<PathBuf>,
    /// Play the terminal in time, so many times as fast; pauses are cut to two seconds
    #[arg(long, value_name = "TIMES", value_parser = speed, conflicts_with = "json")]
    speed: Option<f64>,
    /// Write the terminal as asciicast v2, for other players; it is as it was, with every control sequence
    #[arg(long, conflicts_with_all = ["json", "speed"])]
    asciicast: bool,
    /// The channel to write, where it is not the first with a terminal
    #[arg(long, value_name = "NUMBER", requires = "asciicast")]
    channel: Option<u32>,
    #[command(flatten)]
    shape: Shape,
}

impl Replay {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let file = match (&self.file, &self.session) {
            (Some(path), _) => open(path)?,
            (None, Some(session)) => fetch(session).await?,
            (None, None) => return Err(Failure::Usage("which session?".into())),
        };
        let reader = match &self.session {
            Some(session) => Reader::for_session(BufReader::new(file), session.as_str()),
            None => Reader::new(BufReader::new(file)),
        };
        let reading = tokio::task::spawn_blocking(move || self.show(reader));
        let tail = reading.await.map_err(|_| Failure::Failed("reading broke off".into()))??;
        match tail {
            Tail::Sealed | Tail::Open | Tail::Torn { .. } => Ok(()),
            Tail::Broken { offset: 0 } => {
                let message = "this is no recording, or its very beginning was changed";
                Err(Failure::Failed(message.into()))
            }
            Tail::Broken { offset } => Err(Failure::Failed(format!(
                "the recording is damaged or was changed at byte {offset}"
            ))),
        }
    }

    fn show(&self, reader: Reader<BufReader<File>>) -> Result<Tail, Failure> {
        if self.asciicast {
            return export(reader, self.channel);
        }
        let style = if self.shape.json { Style::Json } else { Style::Text(Paint::for_stdout()) };
        Playback::new(style, self.speed).play(reader)
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(times) if (0.01..=1_000.0).contains(&times) => Ok(times),
        Ok(_) | Err(_) => Err("a speed is a number from 0.01 to 1000, such as 2".into()),
    }
}

/// Writes one terminal as asciicast.
fn export(mut reader: Reader<BufReader<File>>, channel: Option<u32>) -> Result<Tail, Failure> {
    let mut out = BufWriter::new(io::stdout());
    let (mut wanted, mut cast, mut began) = (channel, None, (String::new(), None));
    for event in reader.by_ref() {
        let event = event.map_err(Failure::io("read the recording"))?;
        if let Kind::Start(start) = &event.kind {
            began = title(start);
        } else if let Kind::Ssh(Ssh::Terminal { ch, .. }) = &event.kind {
            wanted = wanted.or(Some(*ch));
        }
        if let Some(ch) = wanted {
            let cast = cast.get_or_insert_with(|| Cast::new(ch, &began.0, began.1));
            out.write_all(json_text(&cast.lines(&event)).as_bytes())?;
        }
    }
    out.flush()?;
    if cast.is_none() {
        return Err(Failure::NotFound("this session had no terminal".into()));
    }
    Ok(reader.tail().unwrap_or(Tail::Broken { offset: 0 }))
}

/// Who was where, and when, in seconds of Unix time.
fn title(start: &Start<'_>) -> (String, Option<i64>) {
    let at = start.at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    (format!("{} as {}@{}", start.name, start.login, start.target), at)
}

fn open(path: &Path) -> Result<File, Failure> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::NotFound(format!("there is no `{}`", path.display())))
        }
        opened => opened.map_err(Failure::io(format!("read `{}`", path.display()))),
    }
}

/// A recording may be of any length: it goes through a file that has no name.
async fn fetch(session: &SessionId) -> Result<File, Failure> {
    let mut file = tempfile::tempfile().map_err(Failure::io("make a temporary file"))?;
    client()?.download(&["sessions", session.as_str(), "recording"], &mut file).await?;
    file.rewind().map_err(Failure::io("read a temporary file"))?;
    Ok(file)
}

/// One pass over a recording, printing as it goes.
struct Playback {
    out: BufWriter<Stdout>,
    style: Style,
    shown: u64,
    list: List,
    renderer: SshRenderer,
    speed: Option<f64>,
    /// When the event before this one happened.
    before: u64,
}

impl Playback {
    fn new(style: Style, speed: Option<f64>) -> Self {
        let renderer = SshRenderer::new(Paint::for_stdout(), io::stdout().is_terminal());
        let out = BufWriter::new(io::stdout());
        Self { out, style, shown: 0, list: List::Statements, renderer, speed, before: 0 }
    }

    fn play(mut self, mut reader: Reader<BufReader<File>>) -> Result<Tail, Failure> {
        let (mut fold, mut end) = (Fold::new(), None);
        self.print(self.style.opening())?;
        for event in reader.by_ref() {
            let event = event.map_err(Failure::io("read the recording"))?;
            if let Kind::Start(start) = &event.kind {
                self.list = List::of(start);
                self.print(self.style.start(start))?;
            } else if let Kind::Ssh(ssh) = &event.kind {
                self.ssh(&event, ssh)?;
            } else if let Kind::End(last) = &event.kind {
                end = Some(last.clone());
            }
            fold.push(event);
            self.release(&mut fold)?;
        }
        fold.finish();
        self.release(&mut fold)?;
        let left = self.renderer.finish();
        self.print(left)?;
        let (list, shown) = (self.list, self.shown);
        let tail = reader.tail().unwrap_or(Tail::Broken { offset: 0 });
        let closing = Closing { end, tail, head: reader.head(), shown, list };
        self.print(self.style.closing(&closing))?;
        self.out.flush()?;
        Ok(tail)
    }

    fn release(&mut self, fold: &mut Fold) -> Result<(), Failure> {
        while let Some(statement) = fold.pop() {
            self.print(self.style.statement(&statement, self.shown == 0))?;
            self.shown += 1;
        }
        Ok(())
    }

    fn ssh(&mut self, event: &Event<'_>, ssh: &Ssh<'_>) -> Result<(), Failure> {
        let text = match self.style {
            Style::Json => self.list.item(&serde_json::json!(event), self.shown == 0),
            Style::Text(_) => self.renderer.render(event.t, ssh),
        };
        self.shown += 1;
        self.wait(event.t)?;
        self.print(text)
    }

    /// Lets as much time pass as did in the session, where that is wanted.
    fn wait(&mut self, t: u64) -> Result<(), Failure> {
        let pause = t.saturating_sub(self.before).min(PAUSE_MAX);
        self.before = t;
        if let Some(speed) = self.speed {
            self.out.flush()?;
            thread::sleep(Duration::from_micros(pause).div_f64(speed));
        }
        Ok(())
    }

    fn print(&mut self, text: String) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }
}
