use super::*;
use crate::dialect::limits::Standing;
use crate::dialect::{Part, Surface};
use crate::frames::sse::{SseEvent, SseSplitter};

const NAMES: [ErrorName; 14] = [
    ErrorName::RateLimit,
    ErrorName::TokenLimit,
    ErrorName::Quota,
    ErrorName::SlowDown,
    ErrorName::Overloaded,
    ErrorName::Internal,
    ErrorName::Timeout,
    ErrorName::ContextLength,
    ErrorName::InvalidRequest,
    ErrorName::Authentication,
    ErrorName::Permission,
    ErrorName::NotFound,
    ErrorName::TooLarge,
    ErrorName::ContentFilter,
];

/// 2026-11-24T08:00:00Z.
const NOW: Duration = Duration::from_secs(1_795_507_200);

fn context(dialect: Dialect, surface: Surface) -> ErrorContext<'static> {
    ErrorContext {
        dialect,
        surface,
        model: Some("m-1"),
        api_version: Some("2024-10-21"),
        retry_after: None,
        standings: Standings::default(),
        requested: None,
        seed: 7,
        now: SystemTime::UNIX_EPOCH + NOW,
    }
}

const SURFACES: [(Dialect, Surface); 6] = [
    (Dialect::OpenAi, Surface::Chat),
    (Dialect::OpenAi, Surface::Responses),
    (Dialect::AzureOpenAi, Surface::Chat),
    (Dialect::Anthropic, Surface::Messages),
    (
        Dialect::Gemini,
        Surface::Generate {
            is_vertex: false,
            is_array: false,
        },
    ),
    (Dialect::Plain, Surface::Other),
];

/// The answer as it is on the wire, line ends aside.
fn shown(answer: &ErrorAnswer) -> String {
    let mut lines = vec![answer.status.to_string()];
    for (name, value) in answer.headers.iter() {
        if !name.starts_with("content-") {
            lines.push(format!("{name}: {}", std::str::from_utf8(value).unwrap()));
        }
    }
    lines.push(String::new());
    lines.push(String::from_utf8(answer.body.to_vec()).unwrap());
    lines.join("\n")
}

fn body(dialect: Dialect, surface: Surface, name: ErrorName) -> String {
    let answer = answer(name, &context(dialect, surface));
    format!(
        "{} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    )
}

#[test]
fn openai_says_its_errors_with_all_four_members() {
    let openai = |name| body(Dialect::OpenAi, Surface::Chat, name);
    for (name, expected) in [
        (
            ErrorName::Quota,
            r#"429 {"error":{"message":"You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        ),
        (
            ErrorName::Internal,
            r#"500 {"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#,
        ),
        (
            ErrorName::Overloaded,
            r#"503 {"error":{"message":"The engine is currently overloaded, please try again later.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
        ),
        (
            ErrorName::ContextLength,
            r#"400 {"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
        (
            ErrorName::Authentication,
            r#"401 {"error":{"message":"Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        ),
        (
            ErrorName::NotFound,
            r#"404 {"error":{"message":"The model `m-1` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        ),
    ] {
        assert_eq!(openai(name), expected);
    }
    let slow: Value =
        serde_json::from_str(openai(ErrorName::SlowDown).split_once(' ').unwrap().1).unwrap();
    assert_eq!(slow["error"]["type"], "rate_limit_error");
    assert_eq!(slow["error"]["code"], "slow_down");
}

#[test]
fn openai_says_when_a_limit_passes() {
    let mut context = context(Dialect::OpenAi, Surface::Chat);
    context.retry_after = Some(Duration::from_millis(1200));
    assert_eq!(
        shown(&answer(ErrorName::RateLimit, &context)),
        "429\n\
         x-request-id: req_11c6fa60d2a5d7284d7259090eb97ddb\n\
         x-ratelimit-limit-requests: 500\n\
         x-ratelimit-remaining-requests: 0\n\
         x-ratelimit-reset-requests: 1.2s\n\
         x-ratelimit-limit-tokens: 30000\n\
         x-ratelimit-remaining-tokens: 29999\n\
         x-ratelimit-reset-tokens: 1.2s\n\
         retry-after-ms: 1200\n\
         retry-after: 2\n\
         \n\
         {\"error\":{\"message\":\"Rate limit reached for m-1 in organization org-rehearsal on requests per min (RPM): \
         Limit 500, Used 500, Requested 1. Please try again in 1.2s. Visit \
         https://platform.openai.com/account/rate-limits to learn more.\",\"type\":\"requests\",\"param\":null,\
         \"code\":\"rate_limit_exceeded\"}}"
    );
    context.standings.tokens = Some(Standing {
        limit: 100,
        remaining: 40,
        reset: Duration::from_secs(360),
    });
    context.requested = Some(101);
    assert_eq!(
        shown(&answer(ErrorName::TokenLimit, &context)),
        "429\n\
         x-request-id: req_11c6fa60d2a5d7284d7259090eb97ddb\n\
         x-ratelimit-limit-tokens: 100\n\
         x-ratelimit-remaining-tokens: 40\n\
         x-ratelimit-reset-tokens: 6m0s\n\
         \n\
         {\"error\":{\"message\":\"Request too large for m-1 in organization org-rehearsal on tokens per min (TPM): \
         Limit 100, Requested 101. The input or output tokens must be reduced in order to run successfully. Visit \
         https://platform.openai.com/account/rate-limits to learn more.\",\"type\":\"tokens\",\"param\":null,\
         \"code\":\"rate_limit_exceeded\"}}"
    );
}

#[test]
fn azure_has_codes_that_are_texts_and_no_type() {
    let mut context = context(Dialect::AzureOpenAi, Surface::Chat);
    context.retry_after = Some(Duration::from_secs(86_400));
    let limited = answer(ErrorName::TokenLimit, &context);
    assert_eq!(
        String::from_utf8_lossy(&limited.body),
        "{\"error\":{\"code\":\"429\",\"message\":\"Requests to the ChatCompletions_Create Operation under Azure OpenAI \
         API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry \
         after 86400 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase \
         the default rate limit.\"}}"
    );
    assert_eq!(limited.headers.get_str("retry-after"), Some("86400"));
    assert_eq!(limited.headers.get_str("retry-after-ms"), Some("86400000"));
    assert_eq!(
        body(
            Dialect::AzureOpenAi,
            Surface::Chat,
            ErrorName::ContentFilter
        ),
        r#"400 {"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400}}"#
    );
}

#[test]
fn anthropic_says_its_errors_with_a_type_for_each_status() {
    for (name, status, kind) in [
        (ErrorName::RateLimit, 429, "rate_limit_error"),
        (ErrorName::TokenLimit, 429, "rate_limit_error"),
        (ErrorName::SlowDown, 429, "rate_limit_error"),
        (ErrorName::Overloaded, 529, "overloaded_error"),
        (ErrorName::Internal, 500, "api_error"),
        (ErrorName::Timeout, 504, "timeout_error"),
        (ErrorName::InvalidRequest, 400, "invalid_request_error"),
        (ErrorName::Authentication, 401, "authentication_error"),
        (ErrorName::Permission, 403, "permission_error"),
        (ErrorName::NotFound, 404, "not_found_error"),
        (ErrorName::TooLarge, 413, "request_too_large"),
    ] {
        let answer = answer(name, &context(Dialect::Anthropic, Surface::Messages));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, body["error"]["type"].as_str()),
            (status, Some(kind))
        );
        assert_eq!(body["type"], "error");
        assert_eq!(
            body["request_id"],
            answer.headers.get_str("request-id").unwrap()
        );
    }
    let mut context = context(Dialect::Anthropic, Surface::Messages);
    context.retry_after = Some(Duration::from_millis(1200));
    assert_eq!(
        shown(&answer(ErrorName::Overloaded, &context)),
        "529\nrequest-id: req_011Ld0y3ES6p805DN8iqFfMP\nretry-after: 2\n\n\
         {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},\
         \"request_id\":\"req_011Ld0y3ES6p805DN8iqFfMP\"}"
    );
    let limited = shown(&answer(ErrorName::RateLimit, &context));
    assert!(
        limited.contains("anthropic-ratelimit-requests-reset: 2026-11-24T08:00:02Z\n"),
        "{limited}"
    );
    let spent = shown(&answer(ErrorName::Quota, &context));
    assert!(
        spent.starts_with("429\n") && !spent.contains("retry-after"),
        "{spent}"
    );
    assert!(
        spent.contains(r#""details":{"error_code":"enforced_spend_limit_reached"}"#),
        "{spent}"
    );
}

#[test]
fn gemini_says_when_to_come_back_in_its_details() {
    let surface = |is_vertex, is_array| Surface::Generate {
        is_vertex,
        is_array,
    };
    let mut context = context(Dialect::Gemini, surface(false, false));
    context.retry_after = Some(Duration::from_secs(34));
    let limited = answer(ErrorName::RateLimit, &context);
    let body: Value = serde_json::from_slice(&limited.body).unwrap();
    assert_eq!(limited.status, 429);
    assert_eq!(
        body.to_string(),
        r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_requests","quotaId":"GenerateRequestsPerMinutePerProjectPerModel","quotaDimensions":{"location":"global","model":"m-1"},"quotaValue":"500"}]},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more about Gemini API quotas","url":"https://ai.google.dev/gemini-api/docs/rate-limits"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}]}}"#
    );
    assert!(!limited.headers.contains("retry-after"));
    context.surface = surface(true, true);
    let failed = answer(ErrorName::Overloaded, &context);
    let body: Value = serde_json::from_slice(&failed.body).unwrap();
    assert_eq!(failed.status, 503);
    assert_eq!(body[0]["error"]["status"], "UNAVAILABLE");
    assert_eq!(body[0]["error"]["errors"][0]["domain"], "global");
    context.retry_after = None;
    context.surface = surface(false, false);
    let frames = event(
        ErrorName::Overloaded,
        &context,
        &StreamPlace::default(),
        EventStyle::Captured,
    );
    assert_eq!(
        String::from_utf8_lossy(&frames),
        "data: {\"error\":{\"code\":503,\"message\":\"This model is currently experiencing high demand. Spikes in demand \
         are usually temporary. Please try again later.\",\"status\":\"UNAVAILABLE\"}}\n\n"
    );
}

fn events(dialect: Dialect, surface: Surface, name: ErrorName, style: EventStyle) -> String {
    let place = StreamPlace {
        sequence: 2,
        response: Some("resp_1".to_owned()),
    };
    let frames = event(name, &context(dialect, surface), &place, style);
    String::from_utf8(frames).unwrap()
}

#[test]
fn an_error_in_a_chat_stream_is_an_object_of_data() {
    let error = "data: {\"error\":{\"message\":\"The server experienced an error while processing your request. You can \
                 retry your request, or contact us through our help center at help.openai.com if the error persists.\",\
                 \"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
    let chat = |style| events(Dialect::OpenAi, Surface::Chat, ErrorName::Internal, style);
    assert_eq!(chat(EventStyle::Captured), error);
    assert_eq!(chat(EventStyle::Documented), error);
    assert_eq!(
        chat(EventStyle::Terminated),
        format!("{error}data: [DONE]\n\n")
    );
}

#[test]
fn an_error_in_a_stream_of_responses_has_two_shapes() {
    let responses = |style| {
        events(
            Dialect::OpenAi,
            Surface::Responses,
            ErrorName::SlowDown,
            style,
        )
    };
    let message = "Your request rate increased too quickly. Please slow down: reduce it to its original level, keep it \
                   there for at least 15 minutes, and then increase it gradually.";
    assert_eq!(
        responses(EventStyle::Documented),
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"code\":\"slow_down\",\"message\":\"{message}\",\"param\":null,\
             \"sequence_number\":2}}\n\n"
        )
    );
    let failed = format!(
        "event: response.failed\ndata: {{\"type\":\"response.failed\",\"sequence_number\":3,\"response\":{{\
         \"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1795507200,\"status\":\"failed\",\"error\":{{\
         \"code\":\"rate_limit_exceeded\",\"message\":\"{message}\"}},\"incomplete_details\":null,\
         \"instructions\":null,\"max_output_tokens\":null,\"metadata\":{{}},\"model\":\"m-1\",\"output\":[],\
         \"parallel_tool_calls\":true,\"previous_response_id\":null,\"tool_choice\":\"auto\",\"tools\":[],\
         \"usage\":null}}}}\n\n"
    );
    assert_eq!(
        responses(EventStyle::Captured),
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"sequence_number\":2,\"error\":{{\"type\":\"rate_limit_error\",\
             \"code\":\"slow_down\",\"message\":\"{message}\",\"param\":null}}}}\n\n{failed}"
        )
    );
    let azure = events(
        Dialect::AzureOpenAi,
        Surface::Responses,
        ErrorName::SlowDown,
        EventStyle::Captured,
    );
    assert!(azure.starts_with("event: response.failed\n"), "{azure}");
}

#[test]
fn an_error_in_a_stream_of_anthropic_has_details() {
    assert_eq!(
        events(
            Dialect::Anthropic,
            Surface::Messages,
            ErrorName::Overloaded,
            EventStyle::Captured
        ),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"details\":null,\"type\":\"overloaded_error\",\
         \"message\":\"Overloaded\"}}\n\n"
    );
}

#[test]
fn every_error_of_every_dialect_is_one_and_is_known_as_one() {
    for (dialect, surface) in SURFACES {
        for name in NAMES {
            let mut context = context(dialect, surface);
            context.retry_after = Some(Duration::from_secs(3));
            let answer = answer(name, &context);
            assert!((400..600).contains(&answer.status));
            let length = answer.headers.get_str("content-length").unwrap();
            assert_eq!(length, answer.body.len().to_string());
            serde_json::from_slice::<Value>(&answer.body).unwrap();
            if name == ErrorName::Quota {
                assert_eq!(answer.status, 429);
                assert!(
                    !shown(&answer).to_lowercase().contains("retry"),
                    "{}",
                    shown(&answer)
                );
            }
            let style = [
                EventStyle::Captured,
                EventStyle::Documented,
                EventStyle::Terminated,
            ];
            for style in style {
                let frames = event(name, &context, &StreamPlace::default(), style);
                let frames = SseSplitter::new(1 << 20).push(&frames);
                assert!(!frames.is_empty());
                for frame in frames {
                    let part = dialect.meaning(&SseEvent::parse(&frame.bytes)).part;
                    // In a plain stream nothing has a meaning.
                    let is_known = matches!(part, Part::Error | Part::Terminator);
                    assert!(
                        is_known || dialect == Dialect::Plain,
                        "{dialect:?} {name:?} {part:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_place_in_a_stream_is_read_from_its_events() {
    let mut place = StreamPlace::default();
    place.see(r#"{"type":"response.created","response":{"id":"resp_9"},"sequence_number":0}"#);
    place.see(r#"{"type":"response.output_text.delta","sequence_number":41}"#);
    place.see("{");
    assert_eq!(
        place,
        StreamPlace {
            sequence: 42,
            response: Some("resp_9".to_owned())
        }
    );
}
