//! Small disks, which somebody else fills.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

/// Of each disk.
const MIB: usize = 12;
/// How often it is looked whether there is room again.
const GLANCE: Duration = Duration::from_millis(5);

/// A file system in memory, gone when this is dropped; or with its directory, which
/// `infra/keeper.sh` sees to.
pub struct Disk {
    pub path: PathBuf,
    greedy: JoinSet<()>,
}

impl Disk {
    /// `None` where nobody may make one.
    pub fn make(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={MIB}m"), "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|it| it.status.success());
        mounted.then(|| Self { path, greedy: JoinSet::new() })
    }

    /// From now on somebody takes every byte of it that is free.
    pub fn fills(&mut self) {
        let path = self.path.join("somebody's");
        self.greedy.spawn(async move {
            let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            loop {
                take_all(&file);
                sleep(GLANCE).await;
            }
        });
    }

    /// There is room again.
    pub async fn has_room(&mut self) {
        self.greedy.shutdown().await;
        fs::remove_file(self.path.join("somebody's")).unwrap();
    }
}

fn take_all(mut file: &File) {
    static PIECE: [u8; 4096] = [b'.'; 4096];
    while file.write_all(&PIECE).is_ok() {}
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

fn unmount(path: &Path) {
    // Also where something still has a file there; and somebody may have been faster.
    let _ = Command::new("umount").arg("--lazy").arg(path).output();
}
