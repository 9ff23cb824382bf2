//! Tests inside an actix-web service.

mod leader;
mod lock_path;
mod status;

use actix_web::{
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header::HeaderMap,
    test::{TestRequest, read_body},
};
use serde_json::Value;

/// A response as a client sees it.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

/// Sends a request to `app` and reads the whole response.
async fn ask<S, B>(app: &S, request: TestRequest) -> Seen
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let response = match app.call(request.to_request()).await {
        Ok(response) => response.map_into_boxed_body(),
        // The server also turns a handler's error into a response.
        Err(error) => {
            let response = error.error_response();
            let request = TestRequest::default().to_http_request();
            ServiceResponse::new(request, response)
        }
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    Seen { status, headers, body }
}

async fn get<S, B>(app: &S, path: &str) -> Seen
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    ask(app, TestRequest::get().uri(path)).await
}
