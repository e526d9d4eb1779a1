// A streaming tail Worker. It gets the shop's own events from workerd, and the caller's from `caller --tail-to`,
// and prints each span of a call when it ends: its name, its new name, its attributes.
export default {
  tailStream(onset) {
    const binding = onset.event.entrypoint;
    const seenBy = binding ? `caller, ${binding}` : "workerd";
    const open = new Map();
    return (event) => {
      const { type, info } = event.event;
      if (type === "spanOpen") {
        open.set(event.event.spanId, { name: event.event.name, attributes: [] });
        return;
      }
      const span = open.get(event.spanContext.spanId);
      if (type === "attributes" && span) {
        for (const { name, value } of info) {
          if (name === "span.name") span.renamed = value;
          else span.attributes.push(`\n    ${name}=${value}`);
        }
      } else if (type === "spanClose" && span) {
        const name = span.renamed ? `${span.name} -> ${span.renamed}` : span.name;
        console.log(`[${seenBy}] ${name}  ${event.event.outcome}${span.attributes.join("")}`);
      }
    };
  },
};
