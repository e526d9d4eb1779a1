//! What a plain HTTP request asks for, by its method and path.
//!
//! Three kinds of clients come here: a Worker's `env.AI` (`/run`, `/ai-api`, `/ai-gateway`), clients of an AI gateway
//! (`/v1/{binding}/{gateway}/{provider}/..`, what `getUrl` gives), and clients of OpenAI's HTTP (`/v1/chat/completions`).

use http::Method;
use percent_encoding::percent_decode_str;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Workers AI's `run`: the model is in a header.
    Run,
    /// The models there are, in Workers AI's form.
    SearchModels,
    /// A gateway's requests, to be tried in order.
    Universal { gateway: String },
    /// Where a gateway's provider is reached.
    Url { gateway: String, provider: String },
    /// A gateway's log entry.
    Log { gateway: String, id: String },
    /// OpenAI's HTTP: the model decides who is asked.
    OpenAi {
        gateway: Option<String>,
        path: String,
    },
    /// The files that `toMarkdown` takes.
    Formats,
    /// The models there are, in OpenAI's form.
    ListModels,
    /// Workers AI's `run` by its REST path.
    RunModel { gateway: String, model: String },
    /// Something below a provider's URL.
    Provider {
        gateway: String,
        provider: String,
        path: String,
    },
}

/// Why a request asks for nothing that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// It is something of Cloudflare's that is not served: what.
    NotServed(&'static str),
    /// There is such a path, for this method.
    Method(&'static str),
    /// There is no such path.
    Path,
}

/// What an OpenAI client asks for without naming a provider.
const OPENAI: [&str; 4] = ["chat/completions", "completions", "embeddings", "responses"];

impl Route {
    /// Reads a method, a path and its query; `binding` is the binding's name.
    pub(super) fn of(
        method: &Method,
        path: &str,
        query: Option<&str>,
        binding: &str,
    ) -> Result<Self, NoRoute> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let only = |expected: Method, name: &'static str, route: Self| match *method == expected {
            true => Ok(route),
            false => Err(NoRoute::Method(name)),
        };
        let post = |route| only(Method::POST, "POST", route);
        let get = |route| only(Method::GET, "GET", route);
        match segments[..] {
            ["run"] | ["ai-gateway", "run"] => post(Self::Run),
            ["ai-api", "models", "search"] => get(Self::SearchModels),
            ["ai-gateway", "universal", "run", gateway] => post(Self::Universal {
                gateway: decoded(gateway),
            }),
            ["ai-gateway", "gateways", gateway, "url", provider] => get(Self::Url {
                gateway: decoded(gateway),
                provider: decoded(provider),
            }),
            ["ai-gateway", "gateways", gateway, "logs", id] => {
                let (gateway, id) = (decoded(gateway), decoded(id));
                match *method {
                    Method::GET | Method::PATCH => Ok(Self::Log { gateway, id }),
                    _ => Err(NoRoute::Method("GET, PATCH")),
                }
            }
            ["to-everything", "markdown", "supported"] => get(Self::Formats),
            ["to-everything", ..] => Err(NoRoute::NotServed("toMarkdown")),
            ["autorag", ..] | ["ai-search", ..] => Err(NoRoute::NotServed("autorag")),
            ["v1", ref rest @ ..] => Self::below_v1(method, rest, query, binding),
            _ => Err(NoRoute::Path),
        }
    }

    fn below_v1(
        method: &Method,
        rest: &[&str],
        query: Option<&str>,
        binding: &str,
    ) -> Result<Self, NoRoute> {
        let post = |route| match *method {
            Method::POST => Ok(route),
            _ => Err(NoRoute::Method("POST")),
        };
        let joined = rest.join("/");
        if joined == "models" {
            return match *method {
                Method::GET => Ok(Self::ListModels),
                _ => Err(NoRoute::Method("GET")),
            };
        }
        if let Some(path) = OPENAI.into_iter().find(|path| joined == *path) {
            let path = path.to_owned();
            return post(Self::OpenAi {
                gateway: None,
                path,
            });
        }
        let [first, gateway, rest @ ..] = rest else {
            return Err(NoRoute::Path);
        };
        if decoded(first) != binding || gateway.is_empty() {
            return Err(NoRoute::Path);
        }
        let gateway = decoded(gateway);
        match rest {
            [] | [""] => post(Self::Universal { gateway }),
            ["compat", "models"] => match *method {
                Method::GET => Ok(Self::ListModels),
                _ => Err(NoRoute::Method("GET")),
            },
            // `chat/completions`, and what an OpenAI client makes of a base URL without `/v1`.
            ["compat", path @ ..] | ["workers-ai", "v1", path @ ..] => {
                let path = path.join("/");
                match OPENAI.contains(&path.as_str()) {
                    true => post(Self::OpenAi {
                        gateway: Some(gateway),
                        path,
                    }),
                    false => Err(NoRoute::Path),
                }
            }
            ["workers-ai", model @ ..] if !model.is_empty() => post(Self::RunModel {
                gateway,
                model: decoded(&model.join("/")),
            }),
            [provider, path @ ..] if !path.is_empty() => {
                let mut path = path.join("/");
                if let Some(query) = query {
                    path.push('?');
                    path.push_str(query);
                }
                Ok(Self::Provider {
                    gateway,
                    provider: decoded(provider),
                    path,
                })
            }
            _ => Err(NoRoute::Path),
        }
    }
}

/// A name in a path. One that is no UTF-8 is none that there is.
fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Result<Route, NoRoute> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        Route::of(&method.parse().unwrap(), path, query, "AI")
    }

    fn openai(gateway: Option<&str>, path: &str) -> Result<Route, NoRoute> {
        let gateway = gateway.map(str::to_owned);
        let path = path.to_owned();
        Ok(Route::OpenAi { gateway, path })
    }

    #[test]
    fn a_workers_paths_are_those_of_its_wrapper() {
        let universal = Route::Universal {
            gateway: "my-gateway".into(),
        };
        let url = Route::Url {
            gateway: "a b".into(),
            provider: "universal".into(),
        };
        let log = Route::Log {
            gateway: "g".into(),
            id: "01".into(),
        };
        assert_eq!(of("POST", "/run?version=3"), Ok(Route::Run));
        let formats = "/to-everything/markdown/supported";
        assert_eq!(of("GET", formats), Ok(Route::Formats));
        assert_eq!(of("POST", "/ai-gateway/run"), Ok(Route::Run));
        assert_eq!(of("GET", "/ai-api/models/search"), Ok(Route::SearchModels));
        let run = "/ai-gateway/universal/run/my-gateway";
        assert_eq!(of("POST", run), Ok(universal.clone()));
        let path = "/ai-gateway/gateways/a%20b/url/universal";
        assert_eq!(of("GET", path), Ok(url));
        for method in ["GET", "PATCH"] {
            let path = "/ai-gateway/gateways/g/logs/01";
            assert_eq!(of(method, path), Ok(log.clone()));
        }
        assert_eq!(of("POST", "/v1/AI/my-gateway"), Ok(universal));
    }

    #[test]
    fn an_openai_client_reaches_models_by_their_names_with_and_without_a_gateway() {
        assert_eq!(
            of("POST", "/v1/chat/completions"),
            openai(None, "chat/completions")
        );
        for base in ["/v1/AI/g/compat", "/v1/AI/g/workers-ai/v1"] {
            assert_eq!(
                of("POST", &format!("{base}/embeddings")),
                openai(Some("g"), "embeddings")
            );
        }
        assert_eq!(of("GET", "/v1/models"), Ok(Route::ListModels));
        assert_eq!(of("GET", "/v1/AI/g/compat/models"), Ok(Route::ListModels));
    }

    #[test]
    fn a_providers_path_is_passed_on_as_it_is() {
        let provider = |path: &str| {
            Ok(Route::Provider {
                gateway: "g".into(),
                provider: "openai".into(),
                path: path.into(),
            })
        };
        assert_eq!(
            of("POST", "/v1/AI/g/openai/chat/completions"),
            provider("chat/completions")
        );
        assert_eq!(
            of("GET", "/v1/AI/g/openai/files/a%2Fb?limit=2"),
            provider("files/a%2Fb?limit=2")
        );
        let model = Route::RunModel {
            gateway: "g".into(),
            model: "@cf/meta/llama".into(),
        };
        assert_eq!(of("POST", "/v1/AI/g/workers-ai/@cf/meta/llama"), Ok(model));
    }

    #[test]
    fn what_there_is_not_is_told_apart() {
        let cases = [
            ("GET", "/run", NoRoute::Method("POST")),
            ("POST", "/v1/models", NoRoute::Method("GET")),
            (
                "PUT",
                "/ai-gateway/gateways/g/logs/1",
                NoRoute::Method("GET, PATCH"),
            ),
            ("GET", "/v1/chat/completions", NoRoute::Method("POST")),
            (
                "POST",
                "/to-everything/markdown/transformer",
                NoRoute::NotServed("toMarkdown"),
            ),
            (
                "POST",
                "/autorag/rags/a/search",
                NoRoute::NotServed("autorag"),
            ),
            ("GET", "/", NoRoute::Path),
            ("POST", "/v1/OTHER/g/openai/chat/completions", NoRoute::Path),
            ("POST", "/v1/AI/g/openai", NoRoute::Path),
            ("POST", "/v1/AI/g/compat/files", NoRoute::Path),
            ("POST", "/v1/AI//openai/chat/completions", NoRoute::Path),
        ];
        for (method, path, why) in cases {
            assert_eq!(of(method, path), Err(why), "{method} {path}");
        }
    }
}
