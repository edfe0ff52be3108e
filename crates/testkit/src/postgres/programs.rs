//! Where the programs of PostgreSQL are, and as which user they run.

use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where Debian and Ubuntu install the versions, each in a folder named by its number.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user of Debian's package, as which the server runs if the tests run as root: PostgreSQL refuses root.
const SERVER_USER: &str = "postgres";

/// The programs of the newest installed version.
pub(super) struct Programs {
    folder: PathBuf,
    user: Option<User>,
}

/// A user that is not the user of the tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Programs {
    /// Finds the programs; panics if they are not installed.
    pub(super) fn find() -> Programs {
        let folder = debian_folder().or_else(folder_in_path);
        let folder = folder
            .expect("PostgreSQL is not installed: run tests/install, or put its programs (initdb) into PATH");
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        Programs { folder, user: is_root.then(server_user) }
    }

    /// Returns the user of the server if it is not the user of the tests.
    pub(super) fn user(&self) -> Option<User> {
        self.user
    }

    /// Returns a command that runs a program as the user of the server.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // The tests' folder may be unreadable for the user of the server.
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        // Not in the group of the tests, to which a terminal sends its signals.
        command.process_group(0);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs a program with these arguments to its end, and returns what it printed; panics if it fails.
    pub(super) fn run(&self, name: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> String {
        let mut command = self.command(name);
        let output = arguments(&mut command).output().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn debian_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).ok()?.flatten();
    let folders = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path().join("bin");
        has_programs(&folder).then_some((version, folder))
    });
    folders.max().map(|(_, folder)| folder)
}

fn folder_in_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| has_programs(folder))
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file())
}

fn server_user() -> User {
    let number = |option: &str| {
        let output = Command::new("id").args([option, SERVER_USER]).output().expect("id runs");
        let number = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
        number.unwrap_or_else(|| {
            panic!("as root the tests need the user {SERVER_USER}, which Debian's package creates")
        })
    };
    User { uid: number("-u"), gid: number("-g") }
}
