// The points, their history, and their way to the disk.

export class Picks {
  constructor(points, changed) {
    this.points = points;
    this.past = [];
    this.future = [];
    this.changed = changed;
  }

  find(id) {
    return this.points.find((point) => point.id === id);
  }

  nextId() {
    return 1 + this.points.reduce((most, point) => Math.max(most, point.id), 0);
  }

  set(points) {
    this.past.push(this.points);
    this.future = [];
    this.points = points;
    this.changed();
  }

  add(point) {
    this.set([...this.points, point]);
  }

  update(id, change) {
    this.set(this.points.map((point) => (point.id === id ? { ...point, ...change } : point)));
  }

  remove(id) {
    this.set(this.points.filter((point) => point.id !== id));
  }

  undo() {
    if (!this.past.length) return false;
    this.future.push(this.points);
    this.points = this.past.pop();
    this.changed();
    return true;
  }

  redo() {
    if (!this.future.length) return false;
    this.past.push(this.points);
    this.points = this.future.pop();
    this.changed();
    return true;
  }
}

const RETRY_MS = 2000;

/** Sends the newest points, one request at a time, until they are on the disk. */
export class Saver {
  constructor(revision, report) {
    this.revision = revision;
    this.report = report;
    this.next = null;
    this.running = null;
  }

  get unsaved() {
    return this.next !== null || this.running !== null;
  }

  save(points) {
    this.next = points;
    this.running ??= this.run().finally(() => { this.running = null; });
  }

  async run() {
    while (this.next !== null) {
      const points = this.next;
      this.next = null;
      this.report({ state: "saving" });
      try {
        const answer = await fetch("points", {
          method: "PUT",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ revision: this.revision, points }),
        });
        const told = await answer.json();
        if (!answer.ok) throw Object.assign(new Error(told.error), { status: answer.status });
        this.revision = told.revision;
        this.report({ state: "saved", ...told });
      } catch (error) {
        const why = error.status ? error.message : "ogive annotate does not answer; leave this page open";
        this.next ??= points;
        this.report({ state: "failed", why });
        await new Promise((done) => setTimeout(done, RETRY_MS));
      }
    }
  }
}
