//! People as tests need them: who signed up, who was planted in a role, and what they
//! type.

use std::time::{SystemTime, UNIX_EPOCH};

use control_plane::{access::Role, identity::Password};
use http::StatusCode;
use secrecy::SecretString;
use shared::ids::PersonId;
use totp_rs::{Builder, Secret};

use crate::{Answer, Browser, Stack, stack::PUBLIC_URL};

/// Somebody with an account, in their own browser.
pub struct Person {
    pub browser: Browser,
    pub email: String,
    pub password: String,
    /// The word for their organization in addresses.
    pub slug: String,
}

impl Person {
    /// A page of their organization.
    pub fn path(&self, rest: &str) -> String {
        format!("/orgs/{}{rest}", self.slug)
    }

    /// Makes a key by the first step of the setup page and returns its secret.
    pub async fn first_key(&mut self) -> String {
        let answer = self.browser.fill(&self.path("/setup"), "/keys", &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        secret_on(&answer)
    }
}

/// The secret that a page shows once.
pub fn secret_on(answer: &Answer) -> String {
    let page = answer.page();
    let shown = page.by_id("secret").unwrap_or_else(|| panic!("{answer:?} shows no secret"));
    shown.text.trim().to_owned()
}

impl Stack {
    /// Signs up with a password that is good enough.
    pub async fn signed_up(&self, email: &str, organization: &str) -> Person {
        let mut browser = self.browser();
        let password = format!("violet anvil teaspoon {}", email.len());
        let typed =
            [("email", email), ("password", password.as_str()), ("organization", organization)];
        let answer = browser.fill("/signup", "/signup", &typed).await;
        let next = answer.location().unwrap_or_else(|| panic!("{answer:?}"));
        let slug = next.strip_prefix("/orgs/").and_then(|it| it.strip_suffix("/setup"));
        let slug = slug.unwrap_or_else(|| panic!("signing up leads to {next}")).to_owned();
        Person { browser, email: email.to_owned(), password, slug }
    }

    /// Signs up and opens the link that was mailed.
    pub async fn confirmed(&self, email: &str, organization: &str) -> Person {
        let mut person = self.signed_up(email, organization).await;
        let link = self.link_mailed_to(email, "/verify/").await;
        let answer = person.browser.fill(&link, &link, &[]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        person
    }

    /// Plants somebody with that role in the organization, and signs them in.
    pub async fn planted(&self, email: &str, slug: &str, role: Role) -> Person {
        let person = self.plant_person(email).await;
        sqlx::query(
            "INSERT INTO memberships (organization_id, person_id, role)
             SELECT id, $2, $3 FROM organizations WHERE slug = $1",
        )
        .bind(slug)
        .bind(person)
        .bind(role.name())
        .execute(&self.root)
        .await
        .expect("the test database takes a membership");
        self.signed_in(email, slug).await
    }

    /// Plants one of the platform's staff, and signs them in.
    pub async fn planted_operator(&self, email: &str) -> Person {
        let person = self.plant_person(email).await;
        sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
            .bind(person)
            .execute(&self.root)
            .await
            .expect("the test database takes an operator");
        self.signed_in(email, "").await
    }

    async fn plant_person(&self, email: &str) -> PersonId {
        let password = SecretString::from(PLANTED_PASSWORD.to_owned());
        let password = Password::new(password, &[]).expect("the password is good enough");
        let hash = self.platform.passwords.hash(password).await.expect("passwords are hashed");
        let id = PersonId::generate();
        sqlx::query(
            "INSERT INTO people (id, email, email_verified_at, password_hash)
             VALUES ($1, $2, now(), $3)",
        )
        .bind(id)
        .bind(email)
        .bind(hash)
        .execute(&self.root)
        .await
        .expect("the test database takes a person");
        id
    }

    async fn signed_in(&self, email: &str, slug: &str) -> Person {
        let mut browser = self.browser();
        let answer = sign_in(&mut browser, email, PLANTED_PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        Person {
            browser,
            email: email.to_owned(),
            password: PLANTED_PASSWORD.to_owned(),
            slug: slug.to_owned(),
        }
    }

    /// The latest link of that kind in a letter to `email`, as a path of ours.
    pub async fn link_mailed_to(&self, email: &str, kind: &str) -> String {
        let letters = self.browser().page("/dev/mailbox").await;
        let articles = letters.all("article").map(|it| letters.text_of(it));
        let letter = articles.filter(|it| it.contains(email)).find_map(|letter| {
            let link = letter.split_whitespace().find(|it| it.contains(kind))?;
            let path = link.strip_prefix(PUBLIC_URL);
            Some(path.unwrap_or_else(|| panic!("{link} is not at our address")).to_owned())
        });
        letter.unwrap_or_else(|| panic!("no letter to {email} has a link with {kind}"))
    }

    /// How many letters went to `email`.
    pub async fn letters_to(&self, email: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM mail_outbox WHERE recipient = $1")
            .bind(email)
            .fetch_one(&self.root)
            .await
            .expect("the test database answers")
    }
}

const PLANTED_PASSWORD: &str = "orbit lantern cobalt whisper";

pub async fn sign_in(browser: &mut Browser, email: &str, password: &str) -> Answer {
    browser.fill("/login", "/login", &[("email", email), ("password", password)]).await
}

/// The code that an app would show for `seed`, `steps` of half a minute from now.
pub fn one_time_code(seed: &str, steps: i64) -> String {
    let seed: String = seed.split_whitespace().collect();
    let secret = Secret::try_from_base32(&seed).expect("a seed is base 32");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let at = now.saturating_add_signed(30 * steps);
    Builder::new().with_secret(secret).build_noncompliant().generate(at).to_string()
}
