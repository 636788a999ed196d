"use strict";
(function () {
  var form = document.getElementById("filter");
  var said = form.querySelector("output");
  var bad = ["failed", "broken", "flaky", "hung", "crashed"];
  form.hidden = false;
  form.addEventListener("submit", function (e) { e.preventDefault(); });

  function show(node, yes) { node.classList.toggle("out", !yes); }
  function state(td) { return (td.className.match(/s-(\w+)/) || ["", ""])[1]; }

  function apply() {
    var text = form.text.value.trim().toLowerCase();
    var want = form.state.value, port = form.port.value, diff = form.diff.checked;
    var shown = 0, all = 0;
    document.querySelectorAll(".finding").forEach(function (f) {
      var at = (" " + f.dataset.ports + " ").indexOf(" " + port + " ") >= 0;
      show(f, (!text || f.textContent.toLowerCase().indexOf(text) >= 0) && (!port || at));
    });
    document.querySelectorAll(".grid").forEach(function (grid) {
      var heads = Array.from(grid.querySelectorAll("thead th[data-port]"));
      var column = heads.findIndex(function (h) { return h.dataset.port === port; });
      var some = false;
      grid.querySelectorAll("tbody").forEach(function (body) {
        var any = false;
        body.querySelectorAll(".row").forEach(function (row) {
          var cells = Array.from(row.querySelectorAll("td"));
          if (port) { cells = column < 0 ? [] : [cells[column]]; }
          var fits = cells.some(function (td) {
            var s = state(td);
            if (diff && !td.classList.contains("diff")) { return false; }
            if (want === "bad") { return bad.indexOf(s) >= 0; }
            if (want) { return s === want; }
            return !port || (s !== "passed" && s !== "absent");
          });
          var yes = fits && (!text || row.dataset.name.toLowerCase().indexOf(text) >= 0);
          show(row, yes);
          all += 1; shown += yes ? 1 : 0; any = any || yes;
        });
        var name = body.querySelector(".program b").textContent.toLowerCase();
        body.querySelectorAll(".dull").forEach(function (row) {
          var names = (name + ":" + row.querySelector("p").textContent).toLowerCase();
          var yes = !want && !diff && !port && (!text || names.indexOf(text) >= 0);
          show(row, yes); any = any || yes;
        });
        show(body, any);
        some = some || any;
      });
      show(grid.closest(".suite-part"), some);
    });
    said.textContent = text || want || port || diff ? shown + " of " + all + " rows" : "";
  }
  form.addEventListener("input", apply);
  form.addEventListener("reset", function () { setTimeout(apply, 0); });

  var box = document.getElementById("box");
  document.addEventListener("click", function (e) {
    var cell = e.target.closest ? e.target.closest(".grid .row") : null;
    var link = cell ? cell.querySelector("th a") : null;
    if (!link || !box.showModal || e.ctrlKey || e.metaKey || e.shiftKey) { return; }
    var from = document.getElementById(link.getAttribute("href").slice(1));
    if (!from) { return; }
    e.preventDefault();
    var title = document.createElement("h3");
    title.textContent = cell.dataset.name;
    var copy = from.cloneNode(true);
    copy.removeAttribute("id");
    box.lastElementChild.replaceChildren(title, copy);
    box.showModal();
  });
  box.addEventListener("click", function (e) { if (e.target === box) { box.close(); } });

  function open() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    var around = target && target.closest("details");
    if (around) { around.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  open();
})();
