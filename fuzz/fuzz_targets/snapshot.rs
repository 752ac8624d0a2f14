//! Whatever is published, and signed or not: no panic; what is taken adds up, and what is
//! refused leaves what was there.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use data_plane::{
    catalog::{Catalog, Opener},
    config::Timeouts,
    egress::Egress,
};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use shared::{
    ids::{CredentialId, UpstreamId},
    reach::Reach,
    seal::MasterKey,
    snapshot::{
        self, Change, Credential, Dialect, Digest, Entity, Form, Genuine, Head, Model, RecordId,
        SCHEMA, SetSum, Signed, Signer, Upstream, Verifier, unpack,
    },
};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(&Signer::generate().0).unwrap());
static MASTER: LazyLock<MasterKey> = LazyLock::new(MasterKey::generate);
/// A good record, so that there is something to be spoilt.
static UPSTREAM: LazyLock<String> = LazyLock::new(upstream);

fuzz_target!(|bytes: &[u8]| {
    nothing_is_made_of(bytes);
    let mut publisher = Publisher::default();
    let catalog = catalog();
    let text = [UPSTREAM.as_bytes(), bytes].concat();
    // A NUL begins the next revision.
    for (nth, text) in text.split(|it| *it == 0).enumerate() {
        let form = if nth == 0 { Form::Full } else { Form::Delta };
        let before = catalog.present().clone();
        let (genuine, is_sound) = publisher.publish(form, text);
        let taken = match form {
            Form::Full => catalog.replace(&genuine, &[]).map(drop),
            Form::Delta => catalog.follow(&genuine),
        };
        assert_eq!(taken.is_ok(), is_sound, "{taken:?}");
        let present = catalog.present().clone();
        if !is_sound {
            let revision = |it: &Option<_>| {
                it.as_ref().map(|it: &std::sync::Arc<data_plane::catalog::Snapshot>| it.revision)
            };
            assert_eq!(revision(&present), revision(&before));
            return;
        }
        assert!(catalog.adds_up());
        let present = present.expect("it was taken");
        assert_eq!(present.revision, publisher.revision);
        assert_eq!(present.sum(), publisher.sum());
        assert_eq!(present.size().0, publisher.records.len());
    }
});

/// Nobody has signed it.
fn nothing_is_made_of(bytes: &[u8]) {
    let verifier: Verifier = SIGNER.verifier();
    let mut rest = bytes;
    while let Some(signed) = Signed::read(&mut rest) {
        let mut written = Vec::new();
        signed.write(&mut written);
        assert_eq!(Signed::read(&mut &written[..]).as_ref(), Some(&signed));
        assert!(verifier.verify(signed).is_err());
    }
    let _ = unpack(bytes, |_| ());
    let _ = catalog().offer(bytes);
}

fn catalog() -> Catalog {
    let egress = Egress::new(Reach::default(), &Timeouts::default());
    Catalog::new(Opener::new(MASTER.sealer("credentials"), egress))
}

/// What a publisher knows of what it has published.
struct Publisher {
    revision: i64,
    chain: Digest,
    records: BTreeMap<RecordId, String>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self { revision: 0, chain: Digest::NOTHING, records: BTreeMap::new() }
    }
}

impl Publisher {
    /// And whether every line of it is a record.
    fn publish(&mut self, form: Form, text: &[u8]) -> (Genuine, bool) {
        let body = zstd::encode_all(text, 1).expect("memory takes it");
        let mut is_sound = true;
        let whole = unpack(&body, |change| match change {
            Ok(Change { id, content: Some(content) }) => {
                self.records.insert(id, content.to_owned());
            }
            Ok(Change { id, content: None }) => drop(self.records.remove(&id)),
            Err(_) => is_sound = false,
        });
        self.revision += 1;
        let head = Head {
            form,
            schema: SCHEMA,
            revision: self.revision,
            published_at: 1_763_712_000_000_000,
            chain: self.chain,
            sum: self.sum(),
            body: Digest::of(&body),
        };
        self.chain = head.chain_end();
        let genuine = SIGNER.verifier().verify(SIGNER.sign(&head, body));
        (genuine.expect("it was just signed"), is_sound && whole.is_ok())
    }

    fn sum(&self) -> SetSum {
        SetSum::of_all(self.records.iter().map(|(id, content)| Change::put(*id, content)))
    }
}

fn upstream() -> String {
    let (id, base_url) = (CredentialId::generate(), "https://api.example.com/v1");
    let purpose = Upstream::purpose(id, None, base_url);
    let secret = SecretString::from("sk-upstream");
    let sealed_secret = MASTER.sealer("credentials").seal_text(&secret, &purpose);
    let upstream = Upstream {
        id: UpstreamId::generate(),
        organization: None,
        provider: "example".into(),
        dialect: Dialect::OpenAi,
        base_url: base_url.into(),
        region: None,
        credentials: vec![Credential { id, weight: 1, sealed_secret }],
        timeouts: snapshot::Timeouts::default(),
        assurances: snapshot::Assurances::default(),
        models: vec![Model::of_text("sim-small", "sim-small", 8_000, 1_000)],
    };
    let (entity, id) = (Entity::Upstream.name(), upstream.id.uuid());
    let content = serde_json::to_string(&upstream).expect("it is plain data");
    format!("{entity} {} {content}\n", id.simple())
}
