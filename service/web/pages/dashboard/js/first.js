// Runs before the first paint, so that nothing flashes. A classic script: modules are deferred.
(() => {
  const root = document.documentElement;
  const kept = (name) => { try { return localStorage.getItem(`holdfast.${name}`); } catch { return null; } };
  const theme = kept("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  root.lang = kept("lang") || (navigator.languages ?? [navigator.language]).map((each) => each.slice(0, 2)).find((each) => each === "en" || each === "ru") || "en";
})();
