//! What the variables ask for, read from a table and not from the process.

use std::time::Duration;

use super::*;
use crate::otel::RootRule;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://there:4318");

fn plan_with(args: &OtlpArgs, vars: &[(&str, &str)]) -> Plan {
    let source = |name: &str| {
        let set = vars.iter().find(|(known, _)| *known == name);
        set.map(|(_, value)| (*value).to_owned())
    };
    Plan::new(args, "callee", &source)
}

fn plan(vars: &[(&str, &str)]) -> Plan {
    plan_with(&OtlpArgs::default(), vars)
}

/// The settings with an address besides, and nothing wrong.
fn settings(vars: &[(&str, &str)]) -> Settings {
    let mut vars = vars.to_vec();
    vars.push(ENDPOINT);
    let plan = plan(&vars);
    assert_eq!(plan.warnings, [""; 0], "{vars:?}");
    plan.export.expect("there is an address")
}

/// The one warning about such variables, which do not stop the export.
fn warning(vars: &[(&str, &str)]) -> (Settings, String) {
    let mut vars = vars.to_vec();
    vars.push(ENDPOINT);
    let plan = plan(&vars);
    let [warning] = plan.warnings.as_slice() else {
        panic!("not one warning: {:?}", plan.warnings);
    };
    (plan.export.expect("it goes on"), warning.clone())
}

#[test]
fn nothing_is_exported_unless_somebody_says_where_to() {
    for vars in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
        &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        let plan = plan(vars);
        assert!(
            plan.export.is_none() && plan.warnings.is_empty(),
            "{vars:?}: {plan:?}"
        );
        assert!(plan.propagate);
    }
    let plan = plan(&[("OTEL_TRACES_EXPORTER", "otlp")]);
    let endpoint = plan.export.unwrap().target.endpoint;
    assert_eq!(
        endpoint, "http://localhost:4318/v1/traces",
        "the standard's own"
    );
}

#[test]
fn the_address_of_all_signals_gets_a_path_and_that_of_traces_does_not() {
    let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    for (vars, endpoint, protocol) in [
        (
            &[(all, "http://h:4318")][..],
            "http://h:4318/v1/traces",
            "http/protobuf",
        ),
        (
            &[(all, "http://h:4318/")],
            "http://h:4318/v1/traces",
            "http/protobuf",
        ),
        (
            &[(all, "https://h/otlp/")],
            "https://h/otlp/v1/traces",
            "http/protobuf",
        ),
        (
            &[(all, "http://no"), (traces, "http://h:1/t")],
            "http://h:1/t",
            "http/protobuf",
        ),
        (&[(all, "http://h:4317")], "http://h:4317/", "grpc"),
        (
            &[
                (all, "http://h:4317"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ],
            "http://h:4317/v1/traces",
            "http/protobuf",
        ),
        (
            &[(all, "http://h:9"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            "http://h:9/",
            "grpc",
        ),
        (
            &[(all, "h:9"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")],
            "https://h:9/",
            "grpc",
        ),
        (
            &[
                (all, "h:9"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
            ],
            "http://h:9/",
            "grpc",
        ),
        (
            &[
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ],
            "http://localhost:4317/",
            "grpc",
        ),
    ] {
        let plan = plan(vars);
        assert_eq!(plan.warnings, [""; 0], "{vars:?}");
        let target = plan.export.unwrap().target;
        assert_eq!(
            (target.endpoint.to_string().as_str(), target.protocol.name()),
            (endpoint, protocol),
            "{vars:?}"
        );
    }
}

#[test]
fn an_address_that_cannot_be_used_is_warned_of_and_nothing_is_exported() {
    for wrong in [
        "h:4318",
        "ftp://h",
        "http://",
        "http://user:secret@h",
        "http://h h",
    ] {
        let plan = plan(&[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)]);
        assert!(plan.export.is_none(), "{wrong}");
        assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
        assert!(
            plan.warnings[0].contains("http://localhost:4318"),
            "{:?}",
            plan.warnings
        );
        assert!(!plan.warnings[0].contains("secret"), "{:?}", plan.warnings);
    }
}

#[test]
fn an_option_wins_over_the_variables_but_not_over_the_switch_for_all() {
    let args = OtlpArgs {
        otlp: Some("http://mine:4317".parse().unwrap()),
        otlp_protocol: None,
    };
    for vars in [&[ENDPOINT][..], &[("OTEL_TRACES_EXPORTER", "none")]] {
        let plan = plan_with(&args, vars);
        let target = plan.export.unwrap().target;
        assert_eq!(
            (target.endpoint.host(), target.protocol.name()),
            (Some("mine"), "grpc")
        );
        assert!(plan.required);
    }
    assert!(
        plan_with(&args, &[("OTEL_SDK_DISABLED", "true")])
            .export
            .is_none()
    );
    let args = OtlpArgs {
        otlp_protocol: Some(OtlpProtocol::HttpProtobuf),
        ..args
    };
    let target = plan_with(&args, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
        .export
        .unwrap()
        .target;
    assert_eq!(target.endpoint, "http://mine:4317/v1/traces");
}

#[test]
fn headers_are_decoded_and_those_of_traces_count_alone() {
    let settings = settings(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "Authorization=Bearer%20x%3D%2C, b = 2,b=3",
        ),
    ]);
    let headers = &settings.target.headers;
    let shown: Vec<_> = headers
        .iter()
        .map(|(k, v)| (k.as_str(), v.to_str().unwrap()))
        .collect();
    assert_eq!(shown, [("authorization", "Bearer x=,"), ("b", "3")]);
    assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
    assert!(
        !format!("{settings:?} {settings}").contains("Bearer"),
        "secrets are not shown"
    );
    for wrong in ["no", "=1", "a=%ff", "a b=1", "a=\u{7f}"] {
        let (settings, warning) = warning(&[("OTEL_EXPORTER_OTLP_HEADERS", wrong)]);
        assert!(settings.target.headers.is_empty(), "{wrong}");
        assert!(warning.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{warning}");
    }
}

#[test]
fn the_rest_of_the_address_is_read() {
    let target = settings(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/me.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/me.key"),
    ])
    .target;
    assert_eq!(
        (target.timeout, target.gzip),
        (Duration::from_millis(1500), true)
    );
    let shorter = settings(&[("OTEL_BSP_EXPORT_TIMEOUT", "70")])
        .target
        .timeout;
    assert_eq!(shorter, Duration::from_millis(70));
    let longer = settings(&[("OTEL_BSP_EXPORT_TIMEOUT", "70000")])
        .target
        .timeout;
    assert_eq!(longer, TIMEOUT);
    let endless = settings(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")]).target;
    assert!(endless.timeout > Duration::from_secs(86_400), "0 is no end");
    let shorter = settings(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
    ]);
    assert_eq!(shorter.target.timeout, target.timeout);
    assert_eq!(target.issuers, Some("/ca.pem".into()));
    assert_eq!(target.identity, Some(("/me.pem".into(), "/me.key".into())));
    let half = plan(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/me.key")]);
    assert!(
        half.export.is_none() && half.warnings.len() == 1,
        "{half:?}"
    );
}

#[test]
fn the_resource_is_what_the_variables_say_and_what_is_known() {
    let named = |vars: &[(&str, &str)]| {
        let resource = settings(vars).resource;
        let names: Vec<_> = resource
            .iter()
            .filter(|(key, _)| key == "service.name")
            .collect();
        assert_eq!(names.len(), 1, "{resource:?}");
        (names[0].1.clone(), resource)
    };
    assert_eq!(named(&[]).0, "callee");
    let attributes = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=shop,deployment.environment.name=a%2Cb",
    );
    let (name, resource) = named(&[attributes]);
    assert_eq!(name, "shop");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert!(resource.contains(&pair("deployment.environment.name", "a,b")));
    assert!(resource.contains(&pair("telemetry.sdk.language", "rust")));
    assert_eq!(
        named(&[attributes, ("OTEL_SERVICE_NAME", "till")]).0,
        "till"
    );
}

#[test]
fn samplers_are_those_of_the_standard() {
    let sampler = |name, argument| {
        settings(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
        .sampler
    };
    let expected = |root, by_parent| Sampler { root, by_parent };
    assert_eq!(settings(&[]).sampler, expected(RootRule::Always, true));
    assert_eq!(sampler("always_on", ""), expected(RootRule::Always, false));
    assert_eq!(sampler("always_off", ""), expected(RootRule::Never, false));
    assert_eq!(
        sampler("traceidratio", "0.25"),
        expected(RootRule::Ratio(0.25), false)
    );
    assert_eq!(
        sampler("parentbased_always_off", ""),
        expected(RootRule::Never, true)
    );
    assert_eq!(
        sampler("parentbased_traceidratio", "1"),
        expected(RootRule::Ratio(1.0), true)
    );
    for argument in ["", "2", "-0.1", "NaN", "half"] {
        let vars = [
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ];
        let (settings, said) = warning(&vars);
        assert_eq!(settings.sampler.root, RootRule::Ratio(1.0), "{argument}");
        assert!(said.contains("from 0 to 1"), "{said}");
    }
    for unknown in ["jaeger_remote", "xray", "parentbased_", "ALWAYSON"] {
        let (settings, said) = warning(&[("OTEL_TRACES_SAMPLER", unknown)]);
        assert_eq!(settings.sampler, Sampler::default());
        assert!(said.contains("parentbased_traceidratio"), "{said}");
    }
}

#[test]
fn batches_and_limits_are_read_and_what_is_no_number_is_ignored() {
    let read = settings(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "7"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12"),
    ]);
    let expected = Batching {
        queue: 100,
        batch: 100,
        delay: Duration::from_millis(250),
    };
    assert_eq!(
        read.batching, expected,
        "a batch is not more than the queue"
    );
    let limits = SpanLimits {
        count: Some(0),
        value_chars: Some(12),
    };
    assert_eq!(
        read.limits, limits,
        "the limit of spans wins over that of all"
    );
    assert_eq!(
        settings(&[]).limits,
        SpanLimits::default(),
        "by default there is none"
    );
    for name in [
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ] {
        for wrong in ["-1", "many", "99999999999999999999999"] {
            let (read, said) = warning(&[(name, wrong)]);
            assert_eq!(
                (read.batching, read.limits),
                (Batching::default(), SpanLimits::default())
            );
            assert!(said.contains(name) && said.contains("number"), "{said}");
        }
    }
    let (_, said) = warning(&[("OTEL_BSP_MAX_QUEUE_SIZE", "0")]);
    assert!(said.contains("from 1"), "{said}");
    let (read, _) = warning(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999")]);
    assert_eq!(read.batching.batch, read.batching.queue);
}

#[test]
fn what_is_not_done_here_is_said() {
    for (name, value, word) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "http/protobuf is used",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "thrift",
            "grpc or http/protobuf",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "--tail stderr"),
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin", "otlp or none"),
        ("OTEL_SDK_DISABLED", "yes", "true or false"),
        ("OTEL_PROPAGATORS", "tracecontext,b3", "tracecontext"),
    ] {
        let (_, said) = warning(&[(name, value)]);
        assert!(said.contains(name) && said.contains(word), "{said}");
    }
}

#[test]
fn contexts_travel_unless_the_propagators_say_otherwise() {
    for (propagators, travels) in [
        ("", true),
        ("tracecontext", true),
        ("tracecontext,baggage", true),
        ("baggage", false),
        ("none", false),
    ] {
        let plan = plan(&[("OTEL_PROPAGATORS", propagators)]);
        assert_eq!(plan.propagate, travels, "{propagators}");
        assert_eq!(plan.warnings, [""; 0]);
    }
}

#[test]
fn the_case_of_enumerated_values_does_not_count() {
    let read = settings(&[
        ("OTEL_TRACES_SAMPLER", "ALWAYS_OFF"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
        ("OTEL_TRACES_EXPORTER", "OTLP"),
    ]);
    assert_eq!(read.sampler.root, RootRule::Never);
    assert!(read.target.gzip);
    assert_eq!(read.target.protocol, OtlpProtocol::Grpc);
    let read = settings(&[
        ("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "HTTP/Protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "NONE"),
    ]);
    assert_eq!(read.sampler.root, RootRule::Ratio(0.5));
    assert!(read.sampler.by_parent && !read.target.gzip);
    assert_eq!(read.target.protocol, OtlpProtocol::HttpProtobuf);
    assert!(
        plan(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "None")])
            .export
            .is_none()
    );
    for (propagators, travels) in [("None", false), ("TraceContext", true), ("BAGGAGE", false)] {
        let plan = plan(&[("OTEL_PROPAGATORS", propagators)]);
        assert_eq!((plan.propagate, plan.warnings), (travels, Vec::new()));
    }
}

#[test]
fn headers_that_say_how_a_request_travels_are_ignored_with_a_warning() {
    for header in [
        "content-length",
        "Content-Type",
        "Content-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Host",
        "TE",
        "Upgrade",
        "Expect",
        "Keep-Alive",
        "accept-encoding",
        "grpc-timeout",
        "Trailer",
    ] {
        let value = format!("authorization=Bearer%20x,{header}=1");
        let (read, said) = warning(&[("OTEL_EXPORTER_OTLP_HEADERS", &value)]);
        let names: Vec<&str> = read
            .target
            .headers
            .iter()
            .map(|(n, _)| n.as_str())
            .collect();
        assert_eq!(names, ["authorization"], "{header}");
        assert!(said.contains(header) && !said.contains("Bearer"), "{said}");
    }
}
