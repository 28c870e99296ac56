//! Entity group transactions: several actions in one multipart request, and their results.

use goldfleet_ports::ETag;
use goldfleet_ports::error::PortResult;
use serde_json::Value;
use uuid::Uuid;

use super::{Action, ETAG, JSON};
use crate::error::ErrorResponse;
use azure_core::http::headers::{HeaderName, Headers};

/// The content type and the body of the request. `url` returns the URL of an action.
pub(super) fn write(actions: &[Action], url: impl Fn(&Action) -> PortResult<String>) -> PortResult<(String, String)> {
    let (batch, changes) = (Uuid::new_v4(), Uuid::new_v4());
    let mut body = format!("--batch_{batch}\r\nContent-Type: multipart/mixed; boundary=changeset_{changes}\r\n\r\n");
    for action in actions {
        let (method, entity, condition) = match action {
            Action::Insert(key, entity) => ("POST", Some(key.put_into(entity.clone())), String::new()),
            Action::Merge(_, entity, etag) => ("PATCH", Some(entity.clone()), format!("If-Match: {}\r\n", etag.0)),
            Action::Delete(_) => ("DELETE", None, "If-Match: *\r\n".to_owned()),
        };
        let entity = entity.map(|entity| Value::Object(entity).to_string()).unwrap_or_default();
        body += &format!(
            "--changeset_{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
             {method} {} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: {JSON}\r\nPrefer: return-no-content\r\n\
             DataServiceVersion: 3.0;\r\n{condition}\r\n{}\r\n",
            url(action)?,
            entity
        );
    }
    body += &format!("--changeset_{changes}--\r\n--batch_{batch}--\r\n");
    Ok((format!("multipart/mixed; boundary=batch_{batch}"), body))
}

/// Returns the new versions of the rows in the order of the actions, with None for a deleted row. Otherwise returns the
/// error of the first rejected action, for which the service undid all others. A response that contains neither is an
/// empty list.
pub(super) fn read(body: &[u8]) -> Result<Vec<Option<ETag>>, ErrorResponse> {
    let text = String::from_utf8_lossy(body);
    let mut etags = Vec::new();
    for answer in text.split("HTTP/1.1 ").skip(1) {
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
        let headers: Headers = headers(lines);
        if !(200..300).contains(&status) {
            let body = rest.split("\r\n--").next().unwrap_or(rest);
            return Err(without_index(ErrorResponse::read(status, &headers, body.trim().as_bytes())));
        }
        etags.push(headers.get_optional_str(&ETAG).map(|etag| ETag(etag.to_owned())));
    }
    Ok(etags)
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        headers.insert(HeaderName::from(name.trim().to_ascii_lowercase()), value.trim().to_owned());
    }
    headers
}

/// Removes the number of the action, which the service puts before its message: `0:The specified entity already
/// exists.`
fn without_index(mut refusal: ErrorResponse) -> ErrorResponse {
    if let Some((index, message)) = refusal.message.split_once(':')
        && index.parse::<usize>().is_ok()
    {
        refusal.message = message.trim().to_owned();
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: &str = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_2\r\n\r\n\
        --changesetresponse_2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
        HTTP/1.1 204 No Content\r\nDataServiceVersion: 1.0;\r\nETag: W/\"datetime'2026-11-21T07%3A00%3A00Z'\"\r\n\r\n\r\n\
        --changesetresponse_2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
        HTTP/1.1 204 No Content\r\nETag: second\r\n\r\n\r\n--changesetresponse_2--\r\n--batchresponse_1--\r\n";

    #[test]
    fn batch_etags_are_in_order() {
        let etags = read(SUCCESS.as_bytes()).unwrap();
        let expected = ["W/\"datetime'2026-11-21T07%3A00%3A00Z'\"", "second"].map(|etag| Some(ETag(etag.to_owned())));
        assert_eq!(etags, expected);
    }

    #[test]
    fn batch_error_carries_code() {
        let body = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_2\r\n\r\n\
            --changesetresponse_2\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 412 Precondition Failed\r\n\
            Content-Type: application/json\r\n\r\n{\"odata.error\":{\"code\":\"UpdateConditionNotSatisfied\",\
            \"message\":{\"lang\":\"en-US\",\"value\":\"1:The update condition was not satisfied.\\nRequestId:7\"}}}\r\n\
            --changesetresponse_2--\r\n--batchresponse_1--\r\n";
        let refusal = read(body.as_bytes()).unwrap_err();
        assert_eq!((refusal.status, refusal.code.as_str()), (412, "UpdateConditionNotSatisfied"));
        assert_eq!(refusal.message, "The update condition was not satisfied.");
    }

    #[test]
    fn empty_batch_response_gives_no_etags() {
        assert_eq!(read(b"--batchresponse_1--").unwrap(), []);
    }
}
