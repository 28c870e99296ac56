//! The files of the page. They are compiled into the program: there is no build step, and nothing is loaded from
//! elsewhere.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        ($path, $kind, include_str!(concat!("assets/", $name)))
    };
}

/// The path, content type and content of every file.
const FILES: [(&str, &str, &str); 14] = [
    file!("/", HTML, "index.html"),
    file!("/style.css", CSS, "style.css"),
    file!("/matrix.css", CSS, "matrix.css"),
    file!("/icon.svg", PICTURE, "icon.svg"),
    file!("/app.js", SCRIPT, "app.js"),
    file!("/jobs.js", SCRIPT, "jobs.js"),
    file!("/job.js", SCRIPT, "job.js"),
    file!("/model.js", SCRIPT, "model.js"),
    file!("/matrix.js", SCRIPT, "matrix.js"),
    file!("/tree.js", SCRIPT, "tree.js"),
    file!("/chart.js", SCRIPT, "chart.js"),
    file!("/failures.js", SCRIPT, "failures.js"),
    file!("/actions.js", SCRIPT, "actions.js"),
    file!("/words.js", SCRIPT, "words.js"),
];

/// The routes of the files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || ([(CONTENT_TYPE, kind)], text).into_response()))
    })
}
