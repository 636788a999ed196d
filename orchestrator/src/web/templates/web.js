"use strict";
// Fetches the page again when something has changed, and puts its content in the place of the old.
(function () {
  var main = document.getElementById("main");
  var url = main && main.dataset.live;
  if (!url || !window.EventSource) { return; }
  var waiting = false, again = false;

  function key(node) {
    return node && main.contains(node) ? node.getAttribute("href") || node.id : null;
  }

  function refresh() {
    if (waiting) { again = true; return; }
    waiting = true;
    fetch(location.pathname + location.search, { headers: { accept: "text/html" } })
      .then(function (answer) { return answer.ok ? answer.text() : Promise.reject(); })
      .then(function (text) {
        var next = new DOMParser().parseFromString(text, "text/html").getElementById("main");
        if (!next || next.innerHTML === main.innerHTML) { return; }
        var focus = key(document.activeElement);
        main.replaceChildren.apply(main, Array.from(next.childNodes));
        if (focus) {
          var found = Array.from(main.querySelectorAll("a,[id]")).find(function (n) { return key(n) === focus; });
          if (found) { found.focus({ preventScroll: true }); }
        }
        if (!next.dataset.live) { source.close(); }
      })
      .catch(function () { })
      .then(function () {
        setTimeout(function () { waiting = false; if (again) { again = false; refresh(); } }, 1000);
      });
  }

  var source = new EventSource(url);
  source.addEventListener("message", refresh);
  source.addEventListener("progress", refresh);
})();
