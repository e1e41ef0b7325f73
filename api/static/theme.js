// Sets the chosen theme before the first paint, and asks for the words early. A classic script, since modules are deferred.
try {
  const theme = localStorage.getItem("retouch.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's theme applies.
}
