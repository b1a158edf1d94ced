//! Panels: what is asked, how it is drawn, and what it means. Where a panel stands, its dashboard decides.
#![expect(
    clippy::indexing_slicing,
    reason = "of JSON objects that are made here: an index makes the field, and cannot panic"
)]

use serde_json::{Value, json};

/// Which series of a metric: those of the chosen clusters.
pub(super) const CLUSTER: &str = r#"cluster=~"$cluster""#;
/// Which series of a metric: those of the chosen nodes.
pub(super) const NODE: &str = r#"cluster=~"$cluster",node=~"$node""#;

const BLUE: &str = "blue";
const GREEN: &str = "green";
const ORANGE: &str = "orange";
const RED: &str = "red";

/// A query, and how its series are called.
#[derive(Debug, Clone)]
pub(super) struct Query {
    promql: String,
    legend: String,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Range,
    /// Only the newest value.
    Instant,
    /// The same, as a row of a table.
    Row,
    /// The buckets of a histogram.
    Heatmap,
}

/// A query over the time that is shown. `@` stands for the chosen clusters, `@@` for the chosen nodes.
pub(super) fn query(promql: &str, legend: &str) -> Query {
    let promql = promql.replace("@@", NODE).replace('@', CLUSTER);
    Query { promql, legend: legend.to_owned(), form: Form::Range }
}

/// A query for the newest value alone.
pub(super) fn newest(promql: &str, legend: &str) -> Query {
    Query { form: Form::Instant, ..query(promql, legend) }
}

/// The column of a table.
pub(super) fn column(promql: &str) -> Query {
    Query { form: Form::Row, ..query(promql, "") }
}

/// The buckets of a histogram as they fill.
pub(super) fn buckets(promql: &str) -> Query {
    Query { form: Form::Heatmap, ..query(promql, "{{le}}") }
}

impl Query {
    fn json(&self, index: usize) -> Value {
        let is_now = matches!(self.form, Form::Instant | Form::Row);
        json!({
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "editorMode": "code",
            "exemplar": self.promql.contains("_bucket") && self.form == Form::Range,
            "expr": self.promql,
            "format": match self.form {
                Form::Range | Form::Instant => "time_series",
                Form::Row => "table",
                Form::Heatmap => "heatmap",
            },
            "instant": is_now,
            "legendFormat": if self.legend.is_empty() { "__auto" } else { &self.legend },
            "range": !is_now,
            "refId": letter(index),
        })
    }
}

/// The name of the query at this place.
pub(super) fn letter(index: usize) -> String {
    let letter = u8::try_from(index).map_or('Z', |index| char::from(b'A'.saturating_add(index)));
    letter.to_string()
}

/// A panel. Its height is 8 and its width is 12 of 24, unless it says otherwise.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) width: u32,
    pub(super) height: u32,
    kind: &'static str,
    title: String,
    description: String,
    targets: Value,
    datasource: Value,
    unit: &'static str,
    defaults: Value,
    overrides: Vec<Value>,
    options: Value,
    transformations: Value,
}

impl Panel {
    fn new(kind: &'static str, title: &str, description: &str, queries: &[Query]) -> Self {
        let targets = queries.iter().enumerate().map(|(index, query)| query.json(index));
        Self {
            width: 12,
            height: 8,
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            targets: targets.collect(),
            datasource: json!({"type": "prometheus", "uid": "${datasource}"}),
            unit: "short",
            defaults: json!({"color": {"mode": "palette-classic"}}),
            overrides: Vec::new(),
            options: json!({}),
            transformations: json!([]),
        }
    }

    /// One number, large. The steps say from what value on it has which colour.
    pub(super) fn number(title: &str, description: &str, query: &Query) -> Self {
        let mut panel = Self::new("stat", title, description, std::slice::from_ref(query));
        (panel.width, panel.height) = (4, 4);
        panel.defaults["color"] = json!({"mode": "thresholds"});
        panel.options = json!({
            "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        });
        panel.steps(&[(None, BLUE)])
    }

    /// Lines over time.
    pub(super) fn lines(title: &str, description: &str, queries: &[Query]) -> Self {
        let mut panel = Self::new("timeseries", title, description, queries);
        panel.defaults["custom"] = json!({
            "drawStyle": "line", "fillOpacity": 8, "lineWidth": 1, "showPoints": "never",
            "spanNulls": false, "stacking": {"mode": "none"},
            "thresholdsStyle": {"mode": "off"},
        });
        panel.defaults["min"] = json!(0);
        panel.options = json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true,
                "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        });
        panel
    }

    /// Areas that add up.
    pub(super) fn areas(title: &str, description: &str, queries: &[Query]) -> Self {
        let mut panel = Self::lines(title, description, queries);
        panel.defaults["custom"]["stacking"] = json!({"mode": "normal", "group": "A"});
        panel.defaults["custom"]["fillOpacity"] = json!(40);
        panel
    }

    /// How often what took how long.
    pub(super) fn heatmap(title: &str, description: &str, query: &Query) -> Self {
        let mut panel = Self::new("heatmap", title, description, std::slice::from_ref(query));
        panel.options = json!({
            "calculate": false,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "reverse": false,
                "exponent": 0.5, "scale": "exponential", "fill": "dark-orange"},
            "exemplars": {"color": "rgba(31, 96, 196, 0.9)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": true},
            "tooltip": {"mode": "single", "show": true, "yHistogram": true},
            "yAxis": {"axisPlacement": "left", "unit": "s"},
        });
        panel
    }

    /// A row for each value of the label, a column for each query: title, unit.
    pub(super) fn table(
        title: &str,
        description: &str,
        label: &str,
        columns: &[(&str, &'static str, Query)],
    ) -> Self {
        let queries: Vec<_> = columns.iter().map(|(.., query)| query.clone()).collect();
        let mut panel = Self::new("table", title, description, &queries);
        (panel.width, panel.height) = (24, 8);
        let mut names = json!({});
        // Each query has a time of its own; joined, they get numbers.
        let mut times = json!({"Time": true});
        for (index, (name, unit, _)) in columns.iter().enumerate() {
            names[format!("Value #{}", letter(index))] = json!(name);
            times[format!("Time {}", index + 1)] = json!(true);
            panel.overrides.push(json!({
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "unit", "value": unit}],
            }));
        }
        panel.transformations = json!([
            {"id": "joinByField", "options": {"byField": label, "mode": "outer"}},
            {"id": "organize", "options": {
                "excludeByName": times,
                "renameByName": names,
            }},
        ]);
        panel.options = json!({"showHeader": true, "cellHeight": "sm"});
        panel
    }

    /// What the trace store has, by `TraceQL`.
    pub(super) fn traces(title: &str, description: &str, traceql: &str) -> Self {
        let mut panel = Self::new("table", title, description, &[]);
        panel.datasource = json!({"type": "tempo", "uid": "${traces}"});
        panel.targets = json!([{
            "datasource": {"type": "tempo", "uid": "${traces}"},
            "limit": 20, "query": traceql, "queryType": "traceql", "refId": "A", "tableType": "traces",
        }]);
        panel.options = json!({"showHeader": true, "cellHeight": "sm"});
        panel
    }

    /// The unit of its numbers, as Grafana calls it.
    pub(super) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(super) fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    fn steps(mut self, steps: &[(Option<f64>, &str)]) -> Self {
        let steps: Vec<_> =
            steps.iter().map(|(from, color)| json!({"value": from, "color": color})).collect();
        self.defaults["thresholds"] = json!({"mode": "absolute", "steps": steps});
        if self.kind == "timeseries" {
            self.defaults["custom"]["thresholdsStyle"] = json!({"mode": "dashed"});
        }
        self
    }

    /// Good below the first bound, bad from the second on.
    pub(super) fn good_below(self, warning: f64, bad: f64) -> Self {
        self.steps(&[(None, GREEN), (Some(warning), ORANGE), (Some(bad), RED)])
    }

    /// Bad from here on.
    pub(super) fn bad_from(self, bad: f64) -> Self {
        self.steps(&[(None, GREEN), (Some(bad), RED)])
    }

    /// Bad below the first bound, good from the second on.
    pub(super) fn good_above(self, bad: f64, good: f64) -> Self {
        self.steps(&[(None, RED), (Some(bad), ORANGE), (Some(good), GREEN)])
    }

    /// A click on a series that has a node leads to that node's dashboard.
    pub(super) fn leads_to_node(mut self) -> Self {
        self.defaults["links"] = json!([{
            "title": "Node ${__field.labels.node}",
            "url": "/d/ultrasimple-node?${datasource:queryparam}&${traces:queryparam}&${cluster:queryparam}\
                    &var-node=${__field.labels.node}&${__url_time_range}",
        }]);
        self
    }

    /// As it stands at this place.
    pub(super) fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let mut defaults = self.defaults.clone();
        defaults["unit"] = json!(self.unit);
        json!({
            "id": id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": self.datasource,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": self.overrides},
            "options": self.options,
            "targets": self.targets,
            "transformations": self.transformations,
        })
    }
}
