//! Every page, as everybody: that it is there, that its markup keeps its promises, that
//! no link of it leads nowhere, and that what people typed does nothing in it.

use harness::Stack;
use http::StatusCode;
use sqlx::PgPool;

use crate::{
    markup::faults,
    requests::logged_call,
    site::{bill, everybody, furnish, is_at, pages, starts, walk},
};

/// Whoever is shown a link may open it. Where a walk begins nobody was shown anything.
#[sqlx::test(migrations = "../migrations")]
async fn every_page_keeps_its_promises_to_everybody(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let shown = furnish(&mut ada, "Platform").await;
    logged_call(&stack, &mut ada, &shown.key, "auto").await;
    bill(&stack, &ada).await;
    let reset = [("email", ada.email.as_str())];
    stack.browser().fill("/password/reset", "/password/reset", &reset).await;
    stack.signed_up("new@other.test", "Other").await;
    let mailed = [
        stack.link_mailed_to(&ada.email, "/password/reset/").await,
        stack.link_mailed_to("new@other.test", "/verify/").await,
        stack.link_mailed_to("new@acme.test", "/invites/").await,
    ];

    let mut wrong = Vec::new();
    let mut visited = Vec::new();
    for (who, mut browser) in everybody(&stack, &ada).await {
        let starts: Vec<_> = starts(&ada.slug).into_iter().chain(mailed.clone()).collect();
        for answer in walk(&mut browser, &starts).await {
            let (path, status) = (&answer.path, answer.status);
            let is_start = starts.contains(path);
            // The mailbox shows everybody's mail, so its links may be dead for a reader.
            let is_mailed = ["/verify/", "/password/reset/", "/invites/"];
            let is_mailed = is_mailed.iter().any(|it| path.starts_with(it));
            let is_there = status == StatusCode::OK || status.is_redirection();
            if !is_there && !is_start && !is_mailed {
                wrong.push(format!("{who}: a link leads to {path}, {status}"));
            }
            if answer.is_html() {
                let found = faults(&answer.page());
                wrong.extend(found.into_iter().map(|it| format!("{who}: {path}: {it}")));
            }
            if status == StatusCode::OK {
                visited.push(path.clone());
            }
        }
    }
    // The page of a code is seen on the way in only; the tests of codes see it. To a key's page
    // leads what a revoked one is answered with; the tests of keys follow it. From the payment
    // provider people come back; the tests of payments do. Where people begin is a page elsewhere.
    let on_the_way = ["/start", "/login/mfa", "/keys/{key}", "/orgs/{org}/billing/card"];
    for door in pages().iter().filter(|it| !on_the_way.contains(&it.path)) {
        if !visited.iter().any(|it| is_at(door, it)) {
            wrong.push(format!("nobody ever came to {}", door.path));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// Texts that would be markup if a page forgot that they are texts.
const PAYLOADS: [&str; 6] = [
    r#""><xss-probe onload=alert(1)>"#,
    "</title><script>alert(1)</script>",
    "'-alert(1)-'<img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}<svg/onload=alert(1)>",
    "javascript:alert(1)//<a href=javascript:alert(1)>",
    "--><!--<xss-probe>&lt;xss-probe&gt;",
];

#[sqlx::test(migrations = "../migrations")]
async fn what_people_type_does_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    for payload in PAYLOADS {
        let number = PAYLOADS.iter().position(|it| *it == payload).unwrap();
        let email = format!("ada{number}@acme.test");
        let mut ada = stack.signed_up(&email, payload).await;
        ada.browser = ada.browser.always("user-agent", payload);
        furnish(&mut ada, payload).await;
        let mut elsewhere = stack.browser().always("user-agent", payload);
        harness::sign_in(&mut elsewhere, &ada.email, &ada.password).await;

        let escaped: String = url::form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        let mut starts = starts(&ada.slug);
        starts.extend([
            format!("/login?next=/{escaped}"),
            format!("/orgs/{}/keys?status={escaped}", ada.slug),
            format!("/orgs/{}/audit?actor={escaped}&action={escaped}", ada.slug),
            format!("/docs/errors/{escaped}"),
            format!("/{escaped}"),
            format!("/orgs/{escaped}"),
            "/account/security".to_owned(),
        ]);
        let mut shown = 0;
        for answer in walk(&mut ada.browser, &starts).await {
            if !answer.is_html() {
                continue;
            }
            let page = answer.page();
            assert_eq!(page.all("xss-probe").count(), 0, "{}", answer.path);
            let mut found = faults(&page);
            found.retain(|it| !it.ends_with(" bytes"));
            assert!(found.is_empty(), "{}: {found:?}", answer.path);
            shown += usize::from(page.words().contains(payload));
        }
        assert!(shown >= 5, "{payload} is on {shown} pages only: was it kept?");
    }
}

/// What a redirect left to be said is said as text, whoever wrote the cookie.
#[sqlx::test(migrations = "../migrations")]
async fn a_forged_notice_does_nothing(root: PgPool) {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let stack = Stack::start(root).await;
    for payload in PAYLOADS {
        let mut browser = stack.browser();
        browser.set_cookie("__Host-notice", &URL_SAFE_NO_PAD.encode(payload));
        let page = browser.page("/login").await;
        assert_eq!(faults(&page), [""; 0]);
        assert_eq!(page.all("xss-probe").count(), 0);
    }
}
