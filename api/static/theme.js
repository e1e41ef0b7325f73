// The theme that was chosen here, before the first paint. A classic script, since modules wait.
try {
  const theme = localStorage.getItem("retouch.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's theme holds.
}
