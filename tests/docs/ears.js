// First in the page: what is said on the console, and what fails to load.
window.said = [];
for (const level of ["error", "warn"]) {
  const old = console[level];
  console[level] = (...words) => { said.push(words.join(" ")); old(...words); };
}
addEventListener("error", e => said.push("error: " + (e.message || (e.target && (e.target.src || e.target.href)))), true);
