//! Where the PostgreSQL programs are: the folder asked for, else the newest of Debian's and the search path's.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// Debian keeps the programs of each server version apart, and out of the search path.
pub(super) const DEBIAN_HOME: &str = "/usr/lib/postgresql";

const OLDEST_MAJOR: u32 = 15;

/// The folder of a PostgreSQL server's programs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Takes `wanted`, else what `POSTERN_PG_BIN` names, else the newest there is.
    pub(super) fn find(wanted: Option<&Path>) -> Result<Self, Error> {
        let named = || env::var_os("POSTERN_PG_BIN").map(PathBuf::from);
        match wanted.map(Path::to_owned).or_else(named) {
            Some(folder) if major_version(&folder) >= Some(OLDEST_MAJOR) => Ok(Self { folder }),
            Some(folder) => Err(Error::WrongFolder(folder)),
            None => newest(candidates()).map(|folder| Self { folder }).ok_or(Error::NoServer),
        }
    }

    /// The folder that holds `initdb` and `postgres`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program in this folder, or its bare name (to be searched for) where the folder has none.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let own = self.folder.join(name);
        if own.is_file() { own } else { PathBuf::from(name) }
    }
}

/// The search path of this process, for children that get nothing else of its environment.
pub(super) fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into())
}

/// Debian's come last, so that they win among equals: a folder of links holds fewer programs.
fn candidates() -> Vec<PathBuf> {
    let debian = fs::read_dir(DEBIAN_HOME).into_iter().flatten().flatten();
    let debian = debian.map(|entry| entry.path().join("bin"));
    env::split_paths(&search_path()).chain(debian).collect()
}

fn newest(folders: Vec<PathBuf>) -> Option<PathBuf> {
    let usable = |folder: PathBuf| {
        Some((major_version(&folder).filter(|&major| major >= OLDEST_MAJOR)?, folder))
    };
    folders.into_iter().filter_map(usable).max_by_key(|(major, _)| *major).map(|(_, folder)| folder)
}

/// The major version of the server in `folder`, if there is one with its `initdb`.
fn major_version(folder: &Path) -> Option<u32> {
    if !folder.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`, `… 18beta1` and the like.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_folder_without_a_server_is_refused_by_name() {
        let error = Programs::find(Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.to_string().starts_with("`/nowhere` holds no"), "{error}");
    }

    #[test]
    fn the_major_version_is_read_from_what_servers_print() {
        let cases = [
            ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18.4\n", Some(18)),
            ("postgres (PostgreSQL) 19beta1\n", Some(19)),
            ("postgres (PostgreSQL) 17", Some(17)),
            ("postgres (PostgreSQL) devel\n", None),
            ("psql: not found", None),
            ("", None),
        ];
        for (printed, expected) in cases {
            assert_eq!(parse_major(printed), expected, "{printed}");
        }
    }
}
