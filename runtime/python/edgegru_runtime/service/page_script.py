"""What the page of a running stream does: it listens to /events and draws. No framework, nothing from elsewhere."""

SCRIPT = r"""
"use strict";
const KEPT = 1200, LISTED = 100, STRIPS = 32;  // samples, events, strips of a kind
const PROBABILITIES = ["softmax", "sigmoid"];
const byId = id => document.getElementById(id);
let model = null, sensors = new Map(), chosen = null, strips = [], decisions = null;
let counters = null, heard = 0, connected = false, clock = 0, dirty = true, colours = {};

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// ---- what arrives

function listen() {
  const source = new EventSource("events");
  source.onopen = () => { connected = true; forget(); byId("rows").replaceChildren(); };
  source.onmessage = message => take(JSON.parse(message.data));
  source.onerror = () => {
    connected = false;
    dirty = true;
    if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(listen, 3000); }
  };
}

function forget() {
  sensors = new Map();
  byId("sensors").replaceChildren();
}

function take(news) {
  clock = news.now - performance.now() / 1000;
  if (news.model) { model = news.model; forget(); describe(); }
  for (const sample of news.samples || []) takeSample(sample);
  for (const event of news.events || []) takeEvent(event);
  if (news.counters) { counters = news.counters; heard = performance.now() / 1000; count(); }
  dirty = true;
}

function takeSample([key, at, t, x, outputs, on, score]) {
  let sensor = sensors.get(key);
  if (!sensor) {
    sensor = {samples: [], on, button: addSensor(key)};
    sensors.set(key, sensor);
    if (chosen === null || !sensors.has(chosen)) chosen = key;
    choose(chosen);
  }
  sensor.samples.push({at, t, x, outputs, on, score});
  if (sensor.samples.length > KEPT) sensor.samples.splice(0, KEPT / 4);
  sensor.on = on;
  if (score !== null && key === chosen && !strips.some(strip => strip.score)) addScore();
}

function takeEvent(event) {
  const sensor = sensors.get(event.key || "");
  const output = model.outputs.findIndex(described => described.name === event.output);
  if (sensor && (event.event === "on" || event.event === "off")) {
    sensor.on = sensor.on.map((labels, index) => index !== output ? labels
      : labels.filter(label => label !== event.label).concat(event.event === "on" ? [event.label] : []));
  }
  const row = make("tr"), what = make("td");
  const {at, key, t, event: name, label, p, output: _, ...rest} = event;
  row.append(make("td", new Date(1000 * at).toLocaleTimeString([], {hour12: false})));
  if (label !== undefined) {
    what.append(name === "on" ? make("b", label) : label, " " + name);
  } else {
    what.append(name);
  }
  const shown = value => typeof value === "number" ? number(value) : String(value);
  const more = Object.entries(rest).map(([field, value]) => field + " " + shown(value));
  if (more.length) what.append(" ", make("small", more.join(", ")));
  if (key) what.append(" ", make("small", key));
  row.append(what, make("td", p === undefined || p === null ? "" : number(p), "number"));
  row.append(make("td", t === undefined || t === null ? "" : String(t), "number"));
  byId("rows").prepend(row);
  while (byId("rows").childElementCount > LISTED) byId("rows").lastChild.remove();
  byId("nothing").hidden = true;
}

// ---- what is shown

function describe() {
  document.title = model.name + " – EdgeGRU";
  byId("model").textContent = model.name;
  const rate = model.rate === null ? "" : " at " + Number(model.rate.toPrecision(6)) + " Hz";
  const count = (n, one, many) => n + " " + (n === 1 ? one : many);
  const given = model.outputs.map(output => output.horizon
    ? "forecast of " + count(output.horizon, "step", "steps")
    : output.kind === "log_softmax" ? "the next token"
    : count(output.labels.length, ...(output.kind === "softmax" ? ["class", "classes"]
      : output.kind === "sigmoid" ? ["label", "labels"] : ["value", "values"])));
  byId("about").textContent = count(model.channels.length, "channel", "channels") + rate + " → " + given.join(", ");
  strips = [];
  const input = byId("input"), output = byId("output");
  input.replaceChildren();
  output.replaceChildren();
  limited(model.channels.map((_, index) => index), input).forEach(index =>
    addStrip(input, model.channels[index], model.units[index] || "", sample => sample.x[index]));
  model.outputs.forEach((described, place) => {
    if (model.outputs.length > 1) output.append(make("h3", described.name, "quiet"));
    const likely = PROBABILITIES.includes(described.kind);
    let shown = described.labels.map((_, index) => index);
    if (described.horizon > 1) {  // the first step and the last
      const each = shown.length / described.horizon;
      shown = shown.slice(0, each).concat(shown.slice(-each));
    }
    limited(shown, output).forEach(index => {
      const label = described.labels[index], unit = likely ? "" : described.units[index] || "";
      const strip = addStrip(output, label, unit, sample => sample.outputs[place][index]);
      if (likely) {
        strip.on = sample => sample.on[place].includes(label);
        strip.place = place;
        strip.label = label;
        strip.row.classList.add("low");
      }
    });
  });
  byId("decided").hidden = !strips.some(strip => strip.on);
  decisions = null;
}

function limited(indices, into) {
  if (indices.length > STRIPS) into.append(make("p", "The first " + STRIPS + " of " + indices.length + ".", "quiet"));
  return indices.slice(0, STRIPS);
}

function addStrip(into, name, unit, value) {
  const row = make("div", undefined, "strip"), canvas = make("canvas"), shown = make("output"), digits = make("span");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "course of " + name);
  shown.append(digits, make("small", unit));
  row.append(make("span", name), canvas, shown);
  into.append(row);
  const strip = {row, canvas, digits, value};
  strips.push(strip);
  return strip;
}

function addScore() {
  addStrip(byId("output"), "score", "", sample => sample.score).score = true;
}

function addSensor(key) {
  const button = make("button", key || "(no name)");
  button.type = "button";
  button.append(" ", make("b", ""));
  button.onclick = () => choose(key);
  const isAfter = other => other.dataset.key.localeCompare(key, [], {numeric: true}) > 0;
  const after = [...byId("sensors").children].find(isAfter);
  button.dataset.key = key;
  byId("sensors").insertBefore(button, after || null);
  byId("fleet").hidden = byId("sensors").childElementCount < 2;
  return button;
}

function choose(key) {
  chosen = key;
  for (const [other, sensor] of sensors) sensor.button.setAttribute("aria-pressed", String(other === key));
  const sensor = sensors.get(key), scored = strips.findIndex(strip => strip.score);
  if (scored >= 0) { strips[scored].row.remove(); strips.splice(scored, 1); }
  if (sensor && sensor.samples.some(sample => sample.score !== null)) addScore();
  if (counters) count();
  dirty = true;
}

function count() {
  const own = chosen !== null && sensors.size > 1 ? counters.sensors[chosen] : undefined, rows = [];
  for (const [name, value] of Object.entries(counters.counters)) {
    const row = make("tr", undefined, value ? "" : "zero");
    row.append(make("td", name.replaceAll("_", " ")), make("td", value.toLocaleString("en"), "number"));
    if (own) row.append(make("td", name in own ? own[name].toLocaleString("en") : "", "number"));
    rows.push(row);
  }
  byId("counts").replaceChildren(...rows);
  byId("own").textContent = own ? chosen : "";
  byId("own").hidden = !own;
  const facts = {
    "median step": duration(counters.p50), "99 % of steps": duration(counters.p99), "streams": counters.streams,
    "running for": duration(counters.uptime),
    "memory": counters.resident === null ? null : (counters.resident / 1e6).toFixed(1) + " MB", ...counters.info,
  };
  delete facts.model;  // it is the heading
  const boxes = Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) => {
    const box = make("div");
    const shown = make("dd", value);
    shown.title = value;  // an identity is long
    box.append(make("dt", name), shown);
    return box;
  });
  byId("facts").replaceChildren(...boxes);
}

// ---- what is drawn

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("-", "−");
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3).replace("-", "−");
}

function duration(seconds) {
  if (seconds === null) return null;
  if (seconds < 1e-3) return (1e6 * seconds).toPrecision(3) + " µs";
  if (seconds < 1) return (1e3 * seconds).toPrecision(3) + " ms";
  const whole = Math.floor(seconds), parts = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60, whole % 60], first = parts.findIndex(part => part > 0);
  if (first < 0 || first === 3) return whole + " s";
  return parts[first] + " " + ["d", "h", "min"][first] + " " + parts[first + 1] + " " + ["h", "min", "s"][first];
}

function ago(seconds) {
  return (seconds <= 120 ? seconds.toFixed(0) + " s" : (seconds / 60).toFixed(0) + " min") + " ago";
}

function draw() {
  const now = clock + performance.now() / 1000, sensor = sensors.get(chosen);
  const samples = sensor ? sensor.samples : [], last = samples[samples.length - 1];
  showState(now);
  for (const [, {button, on}] of sensors) setText(button.lastChild, on.flat().join(", "));
  if (!dirty && samples.length < 2) return;
  dirty = false;
  // The middle distance of the last samples tells how far back it makes sense to look.
  const tail = samples.slice(-30), distances = tail.slice(1).map((sample, index) => sample.at - tail[index].at);
  distances.sort((a, b) => a - b);
  const usual = distances.length ? distances[distances.length >> 1] : 0.1;
  const span = Math.min(Math.max(10, samples.length ? now - samples[0].at : 0), Math.max(60, 100 * usual));
  const shown = samples.slice(Math.max(0, samples.findIndex(sample => sample.at >= now - span) - 1));
  for (const axis of document.querySelectorAll(".axis div")) {
    [1, .5, 0].forEach((share, index) => setText(axis.children[index], share ? ago(share * span) : "now"));
  }
  for (const strip of strips) {
    setText(strip.digits, last ? number(strip.value(last)) : "–");
    strip.row.classList.toggle("on", Boolean(strip.on && last && sensor.on[strip.place].includes(strip.label)));
    plot(strip, last && last.at > now - span ? shown : [], now, span, Math.max(1.5, 4 * usual));
  }
  if (last) decide(sensor, last);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function decide(sensor, last) {
  const on = sensor.on.flatMap((labels, place) => labels.map(label => [place, label])), key = JSON.stringify(on);
  if (decisions !== key) {
    decisions = key;
    byId("decisions").replaceChildren(...on.map(([, label]) => {
      const shown = make("span", label);
      shown.append(make("small", ""));
      return shown;
    }));
    if (!on.length) byId("decisions").append(make("em", "nothing is on"));
  }
  if (on.length) byId("decided").hidden = false;
  on.forEach(([place, label], index) => {
    const p = last.outputs[place][model.outputs[place].labels.indexOf(label)];
    const likely = PROBABILITIES.includes(model.outputs[place].kind) && p !== undefined && p !== null;
    setText(byId("decisions").children[index].lastChild, likely ? (100 * p).toFixed(0) + " %" : "");
  });
}

function plot(strip, samples, now, span, gap) {
  const canvas = strip.canvas, scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d"), base = height - 3, top = 4;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  let low = 0, high = 1;
  if (!strip.on) [low, high] = reach(samples.map(strip.value));
  const x = sample => width * (1 - (now - sample.at) / span);
  const y = value => base - (value - low) / (high - low) * (base - top);
  context.lineWidth = 1;
  context.strokeStyle = colours.line;
  stroke(context, [[0, base + .5], [width, base + .5]]);
  for (const run of runs(samples, strip.value, gap)) {
    const points = run.map(sample => [x(sample), y(strip.value(sample))]);
    if (strip.on) {
      area(context, points, base, colours.fill);
      for (let from = 0, to; from < run.length; from = to + 1) {
        for (to = from; to + 1 < run.length && strip.on(run[to]);) to++;  // to the sample that switched it off
        if (to > from) area(context, points.slice(from, to + 1), base, colours.second);
      }
    }
    context.strokeStyle = colours.second;
    context.lineWidth = strip.on ? 1 : 1.5;
    if (points.length > 1) stroke(context, points);
    else { context.fillStyle = colours.second; context.fillRect(points[0][0] - 1.5, points[0][1] - 1.5, 3, 3); }
  }
  if (!strip.on && samples.length) {
    context.font = "11px system-ui, sans-serif";
    for (const [value, baseline, edge] of [[high, "top", top + 2], [low, "bottom", base - 1]]) {
      context.textBaseline = baseline;
      context.lineWidth = 3;
      context.lineJoin = "round";
      context.strokeStyle = colours.page;  // readable on top of the curve
      context.strokeText(number(value), 2, edge);
      context.fillStyle = colours.quiet;
      context.fillText(number(value), 2, edge);
    }
  }
}

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], index) => index ? context.lineTo(x, y) : context.moveTo(x, y));
  context.stroke();
}

function area(context, points, base, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(points[0][0], base);
  for (const [x, y] of points) context.lineTo(x, y);
  context.lineTo(points[points.length - 1][0], base);
  context.fill();
}

function reach(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  const room = high > low ? .04 * (high - low) : Math.abs(high) / 10 || 1;
  return [low - room, high + room];
}

function runs(samples, value, gap) {
  const found = [];
  let run = [];
  for (const sample of samples) {
    if (value(sample) === null || (run.length && sample.at - run[run.length - 1].at > gap)) {
      if (run.length) found.push(run);
      run = [];
    }
    if (value(sample) !== null) run.push(sample);
  }
  if (run.length) found.push(run);
  return found;
}

function showState(now) {
  const age = counters === null || counters.age === null ? null : counters.age + performance.now() / 1000 - heard;
  let latest = 0;
  for (const {samples} of sensors.values()) latest = Math.max(latest, samples[samples.length - 1].at);
  const quiet = Math.min(age === null ? Infinity : age, latest ? now - latest : Infinity), state = byId("state");
  [state.className, state.textContent] = !connected ? ["lost", "not connected"]
    : quiet === Infinity ? ["", "waiting for samples"]
    : quiet > counters.silence ? ["silent", "no samples for " + duration(quiet)]
    : ["live", "live"];
}

function readColours() {
  const style = getComputedStyle(document.documentElement), names = ["line", "second", "fill", "page", "quiet"];
  for (const name of names) colours[name] = style.getPropertyValue("--" + name).trim();
  dirty = true;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
addEventListener("resize", () => { dirty = true; });
readColours();
listen();
setInterval(() => { if (!document.hidden) draw(); }, 100);
"""
