//! Microsoft Teams: an Adaptive Card 1.4 for a workflow that starts when a webhook request is received.
//!
//! Values stand in `TextRun`s, which know no Markdown (TextBlocks and facts do):
//! <https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features>. Mentions need entities, of which there are none.
//! A message may have 28 KB: <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>.

use serde_json::{Value as Json, json};

use crate::{
    Notice,
    message::{Line, Message},
};

/// The body of the request.
pub(crate) fn body(notice: &Notice) -> Json {
    let message = Message::of(notice);
    let mut elements = vec![json!({
        "type": "TextBlock", "text": message.title, "size": "Medium", "weight": "Bolder", "wrap": true, "style": "heading",
    })];
    elements.extend(message.lines.iter().map(line));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": message.title,
                "msteams": { "width": "Full" },
                "body": elements,
                "actions": [{ "type": "Action.OpenUrl", "title": "Open in Portcullis", "url": notice.link.as_str() }],
            },
        }],
    })
}

fn line(line: &Line<'_>) -> Json {
    json!({
        "type": "RichTextBlock",
        "spacing": "Small",
        "inlines": [
            { "type": "TextRun", "text": format!("{}: ", line.label), "weight": "Bolder" },
            { "type": "TextRun", "text": inert(&line.value.text()) },
        ],
    })
}

/// Cards replace `{{DATE(…)}}` and templates `${…}` wherever they stand; with a word joiner inside they are text.
fn inert(text: &str) -> String {
    let mut inert = String::with_capacity(text.len());
    let mut before = ' ';
    for character in text.chars() {
        if matches!((before, character), ('{' | '$', '{') | ('}', '}')) {
            inert.push('\u{2060}');
        }
        inert.push(character);
        before = character;
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_templates_are_broken_up() {
        assert_eq!(inert("{{DATE(2026-01-01T00:00:00Z)}}"), "{\u{2060}{DATE(2026-01-01T00:00:00Z)}\u{2060}}");
        assert!(!inert("{{{{ }}}}").contains("{{"));
        assert_eq!(inert("${x} $5"), "$\u{2060}{x} $5");
    }
}
