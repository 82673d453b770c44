(() => {
  "use strict";
  const days = Array.from(document.querySelectorAll(".day"));
  const detail = document.getElementById("day-detail");
  const show = (day) => { detail.textContent = day.getAttribute("aria-label"); };
  const enter = (day) => {
    days.forEach((other) => { other.tabIndex = other === day ? 0 : -1; });
    show(day);
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
  days.forEach((day, at) => {
    day.addEventListener("mouseenter", () => show(day));
    day.addEventListener("focus", () => enter(day));
    day.addEventListener("click", () => { day.focus(); enter(day); });
    day.addEventListener("keydown", (event) => {
      const goal = event.key === "Home" ? 0 : event.key === "End" ? days.length - 1 : at + (steps[event.key] || 0);
      if (goal !== at && days[goal]) { event.preventDefault(); days[goal].focus(); }
    });
  });
  if (days.length) { days[days.length - 1].tabIndex = 0; }
})();
