//! Nothing secret, nor anything derived from a secret, is ever sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use harness::{Request, Stack, stack::UPSTREAM_SECRET};
use sqlx::PgPool;

use crate::{
    second_factor::enrolled,
    site::{furnish, starts, walk},
};

/// Every binary value of every table: hashes, seeds, sealed texts. The audit log's own
/// hashes are there to be seen.
async fn kept_bytes(root: &PgPool) -> Vec<Vec<u8>> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
          WHERE table_schema = 'public' AND data_type = 'bytea'
            AND table_name NOT LIKE 'audit%' AND table_name NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(root)
    .await
    .unwrap();
    let mut kept = Vec::new();
    for (table, column) in columns {
        let all = format!("SELECT {column} FROM {table} WHERE length({column}) >= 16");
        let values: Vec<Vec<u8>> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_all(root).await.unwrap();
        kept.extend(values);
    }
    kept
}

#[sqlx::test(migrations = "../migrations")]
async fn no_answer_holds_anything_secret(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let factor = enrolled(&mut ada).await;
    let shown = furnish(&mut ada, "Platform").await;
    let hashes: Vec<String> = sqlx::query_scalar("SELECT password_hash FROM people")
        .fetch_all(&stack.root)
        .await
        .unwrap();

    let mut secret = vec![
        shown.key.clone(),
        shown.token.clone(),
        UPSTREAM_SECRET.to_owned(),
        ada.password.clone(),
        ada.browser.cookie("__Host-session").unwrap().to_owned(),
        factor.seed.clone(),
        factor.seed.replace(' ', ""),
    ];
    secret.extend(factor.recovery_codes.clone());
    // The salt and the hash, without the parameters that every hash begins with.
    secret.extend(hashes.iter().flat_map(|it| it.split('$').skip(4)).map(ToOwned::to_owned));
    for bytes in kept_bytes(&stack.root).await {
        secret.push(bytes.iter().map(|it| format!("{it:02x}")).collect());
        secret.push(STANDARD.encode(&bytes));
    }
    let count = secret.len();
    assert!(count > 30, "{count} secrets are too few to be all");

    let mut seen = walk(&mut ada.browser, &starts(&ada.slug)).await;
    let mut management = stack.management(&shown.token);
    for door in control_plane::app::doors().list {
        if door.method.as_str() == "GET" && door.path.starts_with("/api/") {
            let path = door.path.replace("{org}", &ada.slug);
            seen.push(management.get(&path).await);
        }
    }
    // The mailbox of developers is there to show letters.
    seen.retain(|it| it.path != "/dev/mailbox");
    assert!(seen.len() > 30, "{} answers are too few to be all", seen.len());
    for answer in seen {
        let mut text = answer.text();
        let cookies = answer.headers.get_all("set-cookie").iter();
        cookies.for_each(|it| text.push_str(it.to_str().unwrap()));
        for secret in &secret {
            assert!(!text.contains(secret.as_str()), "{} holds {secret}", answer.path);
        }
    }
    // Nor does the data plane tell.
    let mut program = stack.program(&shown.key);
    for path in ["/v1/models", "/v1/nothing", "/healthz", "/"] {
        let text = program.send(Request::get(path)).await.text();
        for secret in &secret {
            assert!(!text.contains(secret.as_str()), "{path} holds {secret}");
        }
    }
}

/// Whoever reads the tables reads no secret that works.
#[sqlx::test(migrations = "../migrations")]
async fn the_tables_hold_no_secret_in_the_clear(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let factor = enrolled(&mut ada).await;
    let shown = furnish(&mut ada, "Platform").await;
    stack.browser().fill("/password/reset", "/password/reset", &[("email", &ada.email)]).await;
    let link = stack.link_mailed_to(&ada.email, "/password/reset/").await;
    let secret = [
        shown.key.as_str(),
        &shown.token,
        &ada.password,
        ada.browser.cookie("__Host-session").unwrap(),
        factor.seed.as_str(),
        &factor.seed.replace(' ', ""),
        factor.recovery_codes[0].as_str(),
        link.trim_start_matches("/password/reset/"),
        UPSTREAM_SECRET,
    ]
    .map(ToOwned::to_owned);
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
          WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&stack.root)
    .await
    .unwrap();
    for table in tables {
        let rows = format!("SELECT t::text FROM {table} t");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&stack.root).await.unwrap();
        for row in rows {
            for secret in &secret {
                // Text as it is, and as the bytes of a binary column are shown.
                let hex: String = secret.bytes().map(|it| format!("{it:02x}")).collect();
                assert!(!row.contains(secret) && !row.contains(&hex), "{table} keeps {secret}");
            }
        }
    }
}
