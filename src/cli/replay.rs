//! `postern replay`: what was done in a session, from its recording, which is checked on the way.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Stdout, Write};
use std::path::{Path, PathBuf};

use audit::{Fold, Kind, Reader, Tail};
use clap::Args;
use policies::SessionId;

use super::{Failure, Shape, client};
use crate::terminal::Paint;
use style::{Closing, Style};

mod style;

/// Show the statements of a session, with rows, bytes, duration and SQLSTATE
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The session
    #[arg(required_unless_present = "file")]
    session: Option<SessionId>,
    /// A recording's file, instead of asking the gateway
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
    file: Option<PathBuf>,
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
        let style = if self.shape.json { Style::Json } else { Style::Text(Paint::for_stdout()) };
        let reading = tokio::task::spawn_blocking(move || Playback::new(style).play(reader));
        let tail = reading.await.map_err(|_| Failure::Failed("reading broke off".into()))??;
        match tail {
            Tail::Sealed | Tail::Open | Tail::Torn { .. } => Ok(()),
            Tail::Broken { offset } => Err(Failure::Failed(format!(
                "the recording is damaged or was changed at byte {offset}"
            ))),
        }
    }
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
}

impl Playback {
    fn new(style: Style) -> Self {
        Self { out: BufWriter::new(io::stdout()), style, shown: 0 }
    }

    fn play(mut self, mut reader: Reader<BufReader<File>>) -> Result<Tail, Failure> {
        let (mut fold, mut end) = (Fold::new(), None);
        self.print(self.style.opening())?;
        for event in reader.by_ref() {
            let event = event.map_err(Failure::io("read the recording"))?;
            if let Kind::Start(start) = &event.kind {
                self.print(self.style.start(start))?;
            } else if let Kind::End(last) = &event.kind {
                end = Some(last.clone());
            }
            fold.push(event);
            self.release(&mut fold)?;
        }
        fold.finish();
        self.release(&mut fold)?;
        let tail = reader.tail().unwrap_or(Tail::Broken { offset: 0 });
        let closing = Closing { end, tail, head: reader.head(), statements: self.shown };
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

    fn print(&mut self, text: String) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }
}
