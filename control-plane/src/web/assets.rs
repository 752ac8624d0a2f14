//! Styles, scripts and the font: in the binary, at addresses that change with them.

use std::sync::LazyLock;

use actix_web::{HttpResponse, web::Path};
use shared::failure::{Classified, Kind};

use super::Failure;
use crate::access::Visitor;

struct Asset {
    name: &'static str,
    url: String,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        ($name, $content_type, include_bytes!(concat!("../../../web-templates/assets/", $name)))
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files: [(&'static str, &'static str, &'static [u8]); 5] = [
        asset!("app.css", "text/css; charset=utf-8"),
        asset!("app.js", "text/javascript; charset=utf-8"),
        asset!("htmx.js", "text/javascript; charset=utf-8"),
        asset!("inter.woff2", "font/woff2"),
        asset!("favicon.svg", "image/svg+xml"),
    ];
    files
        .into_iter()
        .map(|(name, content_type, bytes)| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            let tag: String = digest.as_ref()[..6].iter().map(|it| format!("{it:02x}")).collect();
            Asset { name, url: format!("/assets/{tag}/{name}"), content_type, bytes }
        })
        .collect()
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
        .body(asset.bytes))
}

#[derive(Debug, thiserror::Error)]
#[error("there is no such file")]
struct NoSuchAsset;

impl Classified for NoSuchAsset {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}
