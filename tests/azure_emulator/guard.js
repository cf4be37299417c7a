// Ends the process that loads it (node --require) when its starter is gone, or its time is up.
process.stdin.on("end", () => process.exit(0)).resume();
setTimeout(() => process.exit(3), 1000 * Number(process.env.LIFETIME_SECONDS)).unref();
