"use strict";
// The browsable sample. Texts go in by textContent only, so that nothing in them can become markup.
(function () {
  const PAGE = 20;
  const data = JSON.parse(document.getElementById("sample-data").textContent);
  const rows = data.rows.map((values) => Object.fromEntries(data.columns.map((name, i) => [name, values[i]])));
  const names = new Map(Object.entries(data.names));
  const list = document.getElementById("sample-list");
  const told = document.getElementById("sample-count");
  const more = document.getElementById("sample-more");
  const form = document.getElementById("sample-filters");
  const selects = [...form.querySelectorAll("select")];
  let matching = [];
  let shown = 0;

  const words = (name) => String(name).replace(/_v\d+$/, "").replaceAll("_", " ");

  function label(column, value) {
    if (value === "" || value === 0) return "none";
    if (column === "discipline") return names.get(value) ?? words(value);
    return column === "difficulty" ? "level " + value : words(value);
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function textOf(tag, row, text, className) {
    const made = element(tag, className ?? "text", text);
    made.lang = row.lang === "und" ? "" : row.lang;
    made.dir = "auto";
    return made;
  }

  function side(title, row, text) {
    const made = element("div");
    made.append(element("h4", "", title), textOf("p", row, text || "(none)"));
    return made;
  }

  function card(row) {
    const made = element("article", "card");
    const tags = element("ul", "tags");
    const said = [
      label("discipline", row.discipline),
      row.difficulty ? "level " + row.difficulty + " (asked for " + row.target_difficulty + ")" : "no level",
      words(row.branch), words(row.grade), row.lang, "quality " + row.quality.toFixed(2),
      row.status + (row.reason ? ": " + words(row.reason) : ""),
    ];
    for (const tag of said.filter(Boolean)) tags.append(element("li", "", tag));
    const answers = element("div", "sides");
    if (row.draft_answer === row.answer) answers.append(side("Answer (the refiner left it as it was)", row, row.answer));
    else answers.append(side("Draft answer", row, row.draft_answer), side("Refined answer", row, row.answer));
    const origin = element("details");
    origin.append(element("summary", "", "Seed passage and ids"), textOf("p", row, row.seed || "(not found)"));
    origin.append(element("code", "", "qa_id " + row.qa_id), element("br"), element("code", "", "seed " + row.seed_id));
    made.append(tags, textOf("h3", row, row.question, "text"), answers, origin);
    made.dataset.id = row.qa_id;
    return made;
  }

  function showMore(focus) {
    const next = matching.slice(shown, shown + PAGE).map(card);
    list.append(...next);
    shown += next.length;
    more.hidden = shown >= matching.length;
    more.textContent = "Show " + Math.min(PAGE, matching.length - shown) + " more";
    told.textContent = matching.length + " of " + rows.length + " questions match, " + shown + " shown";
    if (focus && next.length) { next[0].tabIndex = -1; next[0].focus(); }
  }

  function show() {
    const wanted = selects.filter((s) => s.value !== "");
    matching = rows.filter((row) => wanted.every((s) => String(row[s.name]) === s.value.slice(1)));
    list.replaceChildren();
    shown = 0;
    showMore(false);
  }

  // #sample&discipline=science&difficulty=3 is an address of what is shown.
  function read() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("sample")) return false;
    for (const select of selects) {
      const value = wanted.has(select.name) ? "=" + wanted.get(select.name) : "";
      if (value && ![...select.options].some((o) => o.value === value)) addOption(select, value.slice(1));
      select.value = value;
    }
    return true;
  }

  function write() {
    const set = selects.filter((s) => s.value !== "").map((s) => [s.name, s.value.slice(1)]);
    location.hash = "sample&" + new URLSearchParams(set);
  }

  function addOption(select, value) {
    const option = element("option", "", label(select.name, select.name === "difficulty" ? Number(value) : value));
    option.value = "=" + value;
    select.append(option);
  }

  for (const select of selects) {
    const values = [...new Set(rows.map((row) => row[select.name]))];
    for (const value of values.sort((a, b) => (a < b ? -1 : 1))) addOption(select, String(value));
  }
  form.addEventListener("change", write);
  form.addEventListener("reset", (event) => { event.preventDefault(); for (const s of selects) s.value = ""; write(); });
  more.addEventListener("click", () => showMore(true));
  window.addEventListener("hashchange", () => {
    if (!read()) return;
    show();
    // A cell of the map was clicked: the change came from elsewhere on the page.
    if (!form.contains(document.activeElement)) form.scrollIntoView();
  });

  const asked = read();
  show();
  if (asked) form.scrollIntoView();
})();
