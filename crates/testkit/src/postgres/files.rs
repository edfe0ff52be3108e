//! The files of a server, and the process that deletes them.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Pid;

use super::programs::Programs;

/// Unix limits the path of a socket to 108 bytes; the name of PostgreSQL's has up to 19.
const MAX_FOLDER_BYTES: usize = 85;

/// Waits for the end of the test process, which closes its input. Then it ends the server, if that runs still and in this
/// folder, and deletes the folder: a static value is not dropped, and a killed process drops nothing.
const CLEANUP: &str = r#"
read -r _
server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
runs() { [ -n "$server" ] && [ "$(readlink "/proc/$server/cwd")" = "$1/data" ]; }
runs "$1" && kill -QUIT "$server"
for _ in 1 2 3 4 5 6 7 8 9 10; do runs "$1" || break; sleep 0.2; done
runs "$1" && kill -KILL "$server"
rm -rf "$1"
"#;

/// A folder with data, sockets and log. It is deleted on drop, and when the test process has ended.
pub(super) struct Files {
    folder: PathBuf,
    cleanup: Child,
}

impl Files {
    pub(super) fn create(programs: &Programs) -> Files {
        let folder = tempfile::Builder::new().prefix("muster-pg-").tempdir().unwrap();
        let length = folder.path().as_os_str().len();
        assert!(length <= MAX_FOLDER_BYTES, "TMPDIR is too long for sockets: {}", folder.path().display());
        if let Some(user) = programs.user() {
            std::os::unix::fs::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let mut cleanup = Command::new("sh");
        cleanup.args(["-c", CLEANUP, "sh"]).arg(folder.path()).process_group(0);
        cleanup.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let cleanup = cleanup.spawn().unwrap();
        Files { folder: folder.keep(), cleanup }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a file into the folder of the data that only the user of the server can read.
    pub(super) fn write_private(&self, name: &str, text: &str, programs: &Programs) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = programs.user() {
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    pub(super) fn sockets(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Opens the log of the server.
    pub(super) fn append_to_log(&self) -> File {
        File::options().create(true).append(true).open(self.log_file()).unwrap()
    }

    /// Returns the log.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Returns the end of the log, for the message of a failure.
    pub(super) fn end_of_log(&self) -> String {
        let text = self.log();
        let last = text.lines().count().saturating_sub(20);
        text.lines().skip(last).collect::<Vec<_>>().join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(self.cleanup.stdin.take());
        let _ = self.cleanup.wait();
    }
}

/// Returns the processes whose parent is this one.
pub(super) fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes
        .filter(|process: &i32| parent_of(*process) == Some(parent.as_raw_nonzero().get()))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent_of(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    // After the name, which may contain anything, come the state and the parent (proc_pid_stat(5)).
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
