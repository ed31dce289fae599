// Readings that are repeated while the page is visible.

export async function repeat(task, period) {
  for (;;) {
    if (!document.hidden) await task();
    await pause(period);
  }
}

// A page that was hidden is read again at once.
function pause(milliseconds) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    document.addEventListener("visibilitychange", end);
  });
}
