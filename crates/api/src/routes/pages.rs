//! The console's pages, which are in the program.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use portcullis_console::{CONTENT_SECURITY_POLICY, asset};

use crate::Problem;

/// Whatever is no route: a page, a file of the console's, or nothing.
pub(super) async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Problem::not_found("nothing answers at this address").into_response();
    }
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let Some(asset) = asset(uri.path(), text(header::ACCEPT_ENCODING)) else {
        return Problem::not_found("nothing answers at this address").into_response();
    };
    let known = text(header::IF_NONE_MATCH).split(',').any(|tag| tag.trim() == asset.etag);
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Body::from(asset.bytes).into_response(),
    };
    let dressed = response.headers_mut();
    dressed.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    dressed.insert(header::CACHE_CONTROL, HeaderValue::from_static(asset.cache));
    dressed.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        dressed.insert(header::ETAG, etag);
    }
    if !known {
        dressed.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        if let Some(encoding) = asset.encoding.as_str() {
            dressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
    }
    response
}
