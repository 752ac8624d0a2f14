//! The carrier, against a mail server that says what it is told to.

use secrecy::SecretString;
use sqlx::PgPool;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::oneshot,
};

use super::{Letter, queue, send_due};
use crate::testing::Fixture;

const SECRET: &str = "https://turnpike.test/password/reset/abc123";

/// Takes one connection, answers `verdict` to the letter, and hands out what it heard.
async fn mail_server(verdict: &'static str) -> (SecretString, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "a test's own server ends with the test")]
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = socket.into_split();
        let mut lines = BufReader::new(reader).lines();
        let (mut all, mut in_letter) = (String::new(), false);
        writer.write_all(b"220 ready\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            all.push_str(&line);
            all.push('\n');
            let answer = match line.as_str() {
                "." => {
                    in_letter = false;
                    verdict
                }
                _ if in_letter => continue,
                "DATA" => {
                    in_letter = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            writer.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            if line == "." {
                break;
            }
        }
        let _ = tell.send(all);
    });
    (format!("smtp://{address}").into(), heard)
}

async fn queued(fixture: &Fixture) {
    let letter = Letter {
        to: "ada@example.test".to_owned(),
        subject: "Set a new password".to_owned(),
        text: format!("Open this link:\n\n{SECRET}\n"),
    };
    let mut conn = fixture.db.acquire().await.unwrap();
    queue(&mut conn, &fixture.platform.secrets.mail, &letter).await.unwrap();
}

async fn sent_with(fixture: &Fixture, verdict: &'static str) -> String {
    let (url, heard) = mail_server(verdict).await;
    let from = "Turnpike <no-reply@turnpike.test>".parse().unwrap();
    send_due(&fixture.platform, Some(&(url, from))).await.unwrap();
    heard.await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_goes_out_once_and_is_forgotten(root: PgPool) {
    let fixture = Fixture::new(root).await;
    queued(&fixture).await;
    let kept: Vec<u8> = sqlx::query_scalar("SELECT sealed_text FROM mail_outbox")
        .fetch_one(&fixture.root)
        .await
        .unwrap();
    assert!(!kept.windows(8).any(|it| it == b"turnpike"), "sealed while it waits");

    let heard = sent_with(&fixture, "250 taken").await;
    assert!(heard.contains("RCPT TO:<ada@example.test>"), "{heard}");
    assert!(heard.contains(SECRET), "{heard}");
    let (is_sent, length): (bool, i32) =
        sqlx::query_as("SELECT sent_at IS NOT NULL, length(sealed_text) FROM mail_outbox")
            .fetch_one(&fixture.root)
            .await
            .unwrap();
    assert!(is_sent && length == 0);
    // Nothing is due: a server that is not there is not asked.
    let nowhere = SecretString::from("smtp://127.0.0.1:1".to_owned());
    let from = "no-reply@turnpike.test".parse().unwrap();
    send_due(&fixture.platform, Some(&(nowhere, from))).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_refused_is_tried_again_later(root: PgPool) {
    let fixture = Fixture::new(root).await;
    queued(&fixture).await;
    sent_with(&fixture, "451 not now").await;
    let (attempts, is_later): (i32, bool) =
        sqlx::query_as("SELECT attempts, next_attempt_at > now() FROM mail_outbox")
            .fetch_one(&fixture.root)
            .await
            .unwrap();
    assert!(attempts == 1 && is_later);
    sqlx::query("UPDATE mail_outbox SET next_attempt_at = now()")
        .execute(&fixture.root)
        .await
        .unwrap();
    assert!(sent_with(&fixture, "250 taken").await.contains(SECRET));
}
