//! An organization with something of everything, and a walk through all its pages.

use std::collections::{BTreeSet, HashMap, VecDeque};

use control_plane::access::{Door, Role};
use harness::{Answer, Browser, Person, Stack, secret_on};
use http::StatusCode;
use shared::ids::OrganizationId;

/// What there is to look at, and what was shown once and must not be seen again.
pub struct Furnished {
    pub key: String,
    pub token: String,
}

/// Makes one of everything, named `text` as far as names are free.
pub async fn furnish(ada: &mut Person, text: &str) -> Furnished {
    let key = ada.first_key().await;
    for (page, action, typed) in [
        ("/teams/new", "/teams", vec![("name", text)]),
        ("/projects/new", "/projects", vec![("name", text)]),
        ("/cost-centers/new", "/cost-centers", vec![("code", "ENG-1"), ("name", text)]),
        ("/members/invite", "/members/invite", vec![("emails", "new@acme.test")]),
        ("/providers/new?vendor=cerebras", "/providers", vec![("name", text), ("secret", "sk-1")]),
        ("/policies/new?model=sim-small", "/policies", vec![("name", "fast"), ("note", text)]),
        // A hard one would refuse calls where nothing looks after the counters.
        ("/budgets/new", "/budgets", vec![("name", text), ("usd", "5"), ("hard", "false")]),
    ] {
        let path = ada.path(page);
        let answer = ada.browser.fill(&path, action, &typed).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        if action == "/policies" {
            // A draft, which is there to be tried.
            let policy = answer.location().expect("it leads to the policy");
            let policy = policy.split('?').next().unwrap_or_default();
            let edit = format!("{policy}/edit");
            let saved = ada.browser.fill(&edit, policy, &[("note", text)]).await;
            assert_eq!(saved.status, StatusCode::SEE_OTHER, "{saved:?}");
        }
    }
    let keys = ada.path("/keys/new");
    let named = [("name", text), ("expiry", "30"), ("tags", "env=test")];
    let answer = ada.browser.fill(&keys, "/keys", &named).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let alerts = ada.path("/budgets/alerts");
    let url = [("url", "https://hooks.example.com/turnpike")];
    let answer = ada.browser.fill(&alerts, "/budgets/alerts/webhooks", &url).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tokens = ada.path("/settings/tokens");
    let named = [("name", text), ("role", "owner")];
    let answer = ada.browser.fill(&tokens, "/settings/tokens", &named).await;
    Furnished { key, token: secret_on(&answer) }
}

/// Has operators issue an invoice, of the least that is billed a month, and import a price.
pub async fn bill(stack: &Stack, ada: &Person) {
    let mut staff = stack.planted_operator("books@turnpike.test").await.browser;
    let id: OrganizationId = sqlx::query_scalar("SELECT id FROM organizations WHERE slug = $1")
        .bind(&ada.slug)
        .fetch_one(&stack.root)
        .await
        .expect("the organization is there");
    let (books, import) = (format!("/operator/billing/{id}"), "/operator/prices/import");
    let seller = "/operator/billing/seller";
    let price = "provider,model,of,input,output\nSimulator,sim-small,sell,0.30,2.40";
    for (page, action, typed) in [
        (seller, seller, vec![("name", "Turnpike"), ("address", "1 Road"), ("series", "TP")]),
        (books.as_str(), "/terms", vec![("minimum", "5")]),
        (&books, "/close", vec![("approval", "it is a test")]),
        (import, import, vec![("file", price)]),
    ] {
        let answer = staff.fill(page, action, &typed).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    }
}

/// Everybody who may look, each in their own browser.
pub async fn everybody(stack: &Stack, ada: &Person) -> Vec<(&'static str, Browser)> {
    let mut all = vec![("nobody", stack.browser()), ("owner", ada.browser.clone())];
    for role in [Role::Admin, Role::Billing, Role::Developer, Role::Viewer] {
        let email = format!("{}@acme.test", role.name());
        all.push((role.name(), stack.planted(&email, &ada.slug, role).await.browser));
    }
    all.push(("operator", stack.planted_operator("staff@turnpike.test").await.browser));
    all
}

/// Where a walk begins: what is linked from nowhere, and what is found by knowing it.
pub fn starts(slug: &str) -> Vec<String> {
    let fixed = ["/", "/login", "/signup", "/password/reset", "/account", "/orgs", "/dev/mailbox"];
    let fixed = fixed.into_iter().chain(["/docs", "/styleguide", "/operator", "/operator/fleet"]);
    fixed.map(ToOwned::to_owned).chain([format!("/orgs/{slug}")]).collect()
}

/// Follows every link to a page of ours. Returns what was seen, each path once.
pub async fn walk(browser: &mut Browser, starts: &[String]) -> Vec<Answer> {
    let mut known: BTreeSet<String> = starts.iter().cloned().collect();
    let mut queries: HashMap<String, usize> = HashMap::new();
    let mut ahead: VecDeque<String> = starts.iter().cloned().collect();
    let mut seen = Vec::new();
    while let Some(path) = ahead.pop_front() {
        let answer = browser.get(&path).await;
        let mut links: Vec<String> = answer.location().into_iter().collect();
        if answer.is_html() {
            links.extend(answer.page().links().map(ToOwned::to_owned));
        }
        seen.push(answer);
        for link in links {
            let link = link.split('#').next().unwrap_or_default().to_owned();
            if !link.starts_with('/') || link.starts_with("//") || known.contains(&link) {
                continue;
            }
            // Pages of filters and positions are one page.
            let (bare, query) = link.split_once('?').unwrap_or((&link, ""));
            let variants = queries.entry(bare.to_owned()).or_default();
            *variants += usize::from(!query.is_empty());
            if *variants > 3 {
                continue;
            }
            known.insert(link.clone());
            ahead.push_back(link);
        }
        assert!(seen.len() < 500, "the walk does not end: {known:?}");
    }
    seen
}

/// Whether `path` is one that `door` opens to.
pub fn is_at(door: &Door, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (pattern, path): (Vec<_>, Vec<_>) =
        (door.path.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(pattern, part)| pattern.starts_with('{') || pattern == part)
}

/// The doors that are pages for people.
pub fn pages() -> Vec<Door> {
    let is_page = |it: &Door| {
        it.method.as_str() == "GET"
            && !["/api/", "/assets/"].iter().any(|prefix| it.path.starts_with(prefix))
            && !it.path.contains('.')
            && !["/healthz", "/readyz"].contains(&it.path)
    };
    control_plane::app::doors().list.into_iter().filter(is_page).collect()
}
