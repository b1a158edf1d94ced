//! A dashboard: rows of panels, and what all dashboards have: variables, links to each other, alerts that fired.

use serde_json::{Value, json};

use super::panel::Panel;

/// Grafana's grid is so wide.
const COLUMNS: u32 = 24;

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    /// The end of its `uid`, and the name of its file.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) span: &'static str,
    pub(super) rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Board {
    pub(super) fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        format!("{:#}\n", self.json())
    }

    fn json(&self) -> Value {
        json!({
            "uid": format!("ultrasimple-{}", self.name),
            "title": format!("Ultra-Simple Replicator / {}", self.title),
            "description": self.description,
            "tags": ["ultrasimple"],
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "schemaVersion": 39,
            "style": "dark",
            "time": {"from": format!("now-{}", self.span), "to": "now"},
            "timezone": "browser",
            "version": 1,
            "annotations": {"list": [alerts()]},
            "links": [{
                "title": "Ultra-Simple Replicator", "type": "dashboards", "tags": ["ultrasimple"],
                "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
            }],
            "templating": {"list": variables()},
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for (title, row) in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": title, "collapsed": false,
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}, "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in row {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                panels.push(panel.json(panels.len() + 1, x, y));
                x += panel.width;
                height = height.max(panel.height);
            }
            y += height;
        }
        panels
    }
}

/// Marks when alerts fired.
fn alerts() -> Value {
    json!({
        "name": "Alerts",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": true,
        "expr": r#"ALERTS{alertname=~"Ultrasimple.+",alertstate="firing",cluster=~"$cluster|"}"#,
        "iconColor": "red",
        "step": "60s",
        "tagKeys": "severity",
        "textFormat": "{{node}}",
        "titleFormat": "{{alertname}}",
    })
}

fn variables() -> Vec<Value> {
    let source = |name: &str, label: &str, kind: &str| {
        json!({
            "name": name, "label": label, "type": "datasource", "query": kind,
            "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
        })
    };
    let values = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": query, "refId": "Variable"}, "definition": query,
            "includeAll": true, "allValue": ".*", "multi": true,
            "current": {"text": ["All"], "value": ["$__all"]},
            "hide": 0, "options": [], "refresh": 2, "regex": "", "sort": 1,
        })
    };
    vec![
        source("datasource", "Metrics", "prometheus"),
        source("traces", "Traces", "tempo"),
        values("cluster", "Cluster", "label_values(ultrasimple_build_info, cluster)"),
        values(
            "node",
            "Node",
            r#"label_values(ultrasimple_build_info{cluster=~"$cluster"}, node)"#,
        ),
    ]
}
