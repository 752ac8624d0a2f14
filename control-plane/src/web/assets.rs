//! Styles, scripts and the font: in the binary, at addresses that change with them.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    web::{Bytes, Path},
};
use aws_lc_rs::digest;
use shared::failure::{Classified, Kind};

use super::Failure;
use crate::access::Visitor;

struct Asset {
    name: &'static str,
    url: String,
    content_type: &'static str,
    bytes: Bytes,
}

impl Asset {
    fn new(name: &'static str, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = digest::digest(&digest::SHA256, &bytes);
        let tag: String = digest.as_ref()[..6].iter().map(|it| format!("{it:02x}")).collect();
        Self { name, url: format!("/assets/{tag}/{name}"), content_type, bytes }
    }
}

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../web-templates/assets/", $name)).as_slice()
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let font = Asset::new("inter.woff2", "font/woff2", file!("inter.woff2"));
    // The style sheet names the font by the address that holds the font's own hash.
    let css = include_str!("../../../web-templates/assets/app.css");
    let css = css.replace("url(inter.woff2)", &format!("url({})", font.url));
    vec![
        font,
        Asset::new("app.css", "text/css; charset=utf-8", css),
        Asset::new("app.js", "text/javascript; charset=utf-8", file!("app.js")),
        Asset::new("htmx.js", "text/javascript; charset=utf-8", file!("htmx.js")),
        Asset::new("favicon.svg", "image/svg+xml", file!("favicon.svg")),
    ]
});

/// Where a page finds an asset.
pub fn url(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|it| it.name == name);
    &asset.expect("pages name only assets that are listed above").url
}

/// Serves one. The address holds a hash of the content, so it is kept for good.
pub async fn serve(_: Visitor, path: Path<(String, String)>) -> Result<HttpResponse, Failure> {
    let (tag, name) = path.into_inner();
    let wanted = format!("/assets/{tag}/{name}");
    let asset = ASSETS.iter().find(|it| it.url == wanted).ok_or(NoSuchAsset)?;
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header(("cache-control", "public, max-age=31536000, immutable"))
        .body(asset.bytes.clone()))
}

#[derive(Debug, thiserror::Error)]
#[error("there is no such file")]
struct NoSuchAsset;

impl Classified for NoSuchAsset {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}
