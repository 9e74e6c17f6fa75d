//! Chat templates: what transformers gives to templates, and errors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_data::{ChatTemplate, Message, RenderOptions, TemplateError, TokenizerConfig};

fn config() -> TokenizerConfig {
    TokenizerConfig {
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        ..TokenizerConfig::default()
    }
}

fn render(source: &str, messages: &[Message]) -> String {
    ChatTemplate::new(source, &config())
        .unwrap()
        .render(messages, &RenderOptions::default())
        .unwrap()
}

fn conversation() -> Vec<Message> {
    vec![
        Message::new("system", "Be short."),
        Message::new("user", "Hi"),
        Message::new("assistant", " Hello "),
    ]
}

#[test]
fn python_methods_loops_and_blocks() {
    let source = "
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {% set shout = message['content'].strip().upper() %}
{{ bos_token ~ message.role.title() }}: {{ shout }}{{ eos_token }}
{% endfor %}";
    assert_eq!(
        render(source, &conversation()),
        "<s>User: HI</s>\n<s>Assistant: HELLO</s>\n"
    );
}

#[test]
fn tojson_writes_as_python_does() {
    let source = "{{ messages[0] | tojson }} {{ [1, 2.5, true, none, {'a': '<é>'}] | tojson }}\n{{ {'a': [1]} | tojson(indent=2) }}";
    let expected = "{\"role\": \"user\", \"content\": \"it's <b>\"} [1, 2.5, true, null, {\"a\": \"<é>\"}]\n{\n  \"a\": [\n    1\n  ]\n}";
    assert_eq!(render(source, &[Message::new("user", "it's <b>")]), expected);
}

#[test]
fn text_is_not_escaped_and_values_print_as_in_python() {
    assert_eq!(
        render(
            "{{ messages[0].content }}|{{ true }}|{{ none }}",
            &[Message::new("user", "<&>")]
        ),
        "<&>|True|None"
    );
}

#[test]
fn raise_exception_is_a_refusal() {
    let source =
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    let template = ChatTemplate::new(source, &config()).unwrap();
    let error = template
        .render(&conversation(), &RenderOptions::default())
        .unwrap_err();
    assert!(
        matches!(&error, TemplateError::Refused(message) if message == "System role not supported"),
        "{error}"
    );
}

#[test]
fn strftime_now_can_be_fixed() {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", &config()).unwrap();
    let fixed = template
        .clone()
        .with_now(jiff::civil::date(2024, 7, 26).at(0, 0, 0, 0));
    assert_eq!(
        fixed.render(&[], &RenderOptions::default()).unwrap(),
        "26 Jul 2024"
    );
    assert_eq!(
        template.render(&[], &RenderOptions::default()).unwrap().len(),
        "26 Jul 2024".len()
    );
}

#[test]
fn variables_reach_the_template() {
    let template = ChatTemplate::new(
        "{% if add_generation_prompt %}>{% endif %}{{ enable_thinking }}{{ missing.x is defined }}",
        &config(),
    )
    .unwrap();
    let mut options = RenderOptions::prompt();
    options
        .variables
        .insert("enable_thinking".to_owned(), false.into());
    options
        .variables
        .insert("missing".to_owned(), serde_json::json!({}));
    assert_eq!(template.render(&[], &options).unwrap(), ">FalseFalse");
}

#[test]
fn generation_blocks_are_spans() {
    let source = "{% for m in messages %}
{%- if m.role == 'assistant' -%}
<a>{% generation %}{{ m.content }}</a>{% endgeneration %}

{%- else -%}
<{{ m.role }}>{{ m.content }}
{%- endif %}
{% endfor %}";
    let template = ChatTemplate::new(source, &config()).unwrap();
    assert!(template.has_generation_blocks());
    let (text, spans) = template
        .render_with_spans(&conversation(), &RenderOptions::default())
        .unwrap();
    assert_eq!(text, "<system>Be short.<user>Hi<a> Hello </a>");
    assert_eq!(spans.len(), 1);
    assert_eq!(&text[spans[0].clone()], " Hello </a>");
    let marked = [Message::new("assistant", "\u{F0001}")];
    assert!(matches!(
        template.render(&marked, &RenderOptions::default()),
        Err(TemplateError::ReservedCharacter)
    ));
}

#[test]
fn a_broken_template_is_an_error_with_its_line() {
    let error = ChatTemplate::new("{% for m in messages %}\n{{ m. }}", &config())
        .unwrap_err()
        .to_string();
    assert!(error.contains(":2"), "{error}");
    let template = ChatTemplate::new("{{ messages[0].content.nonsense() }}", &config()).unwrap();
    let error = template
        .render(&conversation(), &RenderOptions::default())
        .unwrap_err();
    assert!(matches!(error, TemplateError::Render(_)), "{error}");
}
