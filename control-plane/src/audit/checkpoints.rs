//! Checkpoints: the ends of the chains, signed and written where the database's host
//! cannot reach, one line of JSON each. Whoever can rewrite every table cannot rewrite
//! these, so what is before a checkpoint stays as it was, or is found out.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use shared::ids::OrganizationId;
use sqlx::PgPool;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    fs::{self, OpenOptions},
    io::AsyncWriteExt,
};

use super::{AuditError, chain::hex, store};

/// The end of a chain at some time, and our word for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    organization: OrganizationId,
    seq: i64,
    hash: String,
    at: String,
    signature: String,
}

impl Checkpoint {
    /// What is signed. No token that the same key signs can read like it.
    fn text(&self) -> String {
        let Self { organization, seq, hash, at, signature: _ } = self;
        format!("turnpike audit checkpoint\n{organization}\n{seq}\n{hash}\n{at}\n")
    }

    fn signed(mut self, key: &Ed25519KeyPair) -> Self {
        self.signature = BASE64.encode(key.sign(self.text().as_bytes()));
        self
    }

    fn is_signed_with(&self, key: &[u8]) -> bool {
        let Ok(signature) = BASE64.decode(&self.signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(self.text().as_bytes(), &signature).is_ok()
    }
}

/// Signs the end of every chain that has moved since it was signed last, and says how
/// many those were.
pub async fn checkpoint(db: &PgPool, key: &SecretString, path: &Path) -> Result<usize, AuditError> {
    let key = key_pair(key)?;
    let failed = |error| AuditError::File { path: path.to_owned(), error };
    let written = match fs::read_to_string(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed)?,
    };
    let known: HashMap<_, _> = written
        .lines()
        .filter_map(|it| serde_json::from_str::<Checkpoint>(it).ok())
        .map(|it| (it.organization, it.seq))
        .collect();
    let ends = store::ends(&mut *db.acquire().await?).await?;
    let moved = ends.iter().filter(|it| it.seq > 0 && known.get(&it.organization) != Some(&it.seq));

    let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let signed: Vec<_> = moved
        .map(|end| Checkpoint {
            organization: end.organization,
            seq: end.seq,
            hash: hex(&end.hash),
            at: at.clone(),
            signature: String::new(),
        })
        .map(|it| it.signed(&key))
        .collect();
    // A line that a crash has cut must not spoil the next one.
    let is_cut = !written.is_empty() && !written.ends_with('\n');
    let mut lines = if is_cut { "\n".to_owned() } else { String::new() };
    for checkpoint in &signed {
        lines.push_str(&serde_json::to_string(checkpoint).unwrap_or_default());
        lines.push('\n');
    }
    append(path, &lines).await.map_err(failed)?;
    Ok(signed.len())
}

async fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
    file.write_all(lines.as_bytes()).await?;
    file.flush().await?;
    file.sync_all().await
}

/// What was signed: of each chain the hashes at some of its entries.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub chains: HashMap<OrganizationId, BTreeMap<i64, String>>,
    pub count: usize,
    /// The numbers of the lines that are not.
    pub bad_lines: Vec<usize>,
}

pub(super) async fn read(path: &Path, key: &SecretString) -> Result<Signed, AuditError> {
    let key = key_pair(key)?;
    let text = fs::read_to_string(path).await;
    let text = text.map_err(|error| AuditError::File { path: path.to_owned(), error })?;
    let mut signed = Signed::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let checkpoint = serde_json::from_str::<Checkpoint>(line).ok();
        match checkpoint.filter(|it| it.is_signed_with(key.public_key().as_ref())) {
            Some(it) => {
                signed.chains.entry(it.organization).or_default().insert(it.seq, it.hash);
                signed.count += 1;
            }
            None => signed.bad_lines.push(index + 1),
        }
    }
    Ok(signed)
}

fn key_pair(key: &SecretString) -> Result<Ed25519KeyPair, AuditError> {
    let document = BASE64.decode(key.expose_secret().trim()).map_err(|_| AuditError::BadKey)?;
    Ed25519KeyPair::from_pkcs8(&document).map_err(|_| AuditError::BadKey)
}
