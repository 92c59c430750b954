// All style sheets of the page: what every chapter uses, then the chapters.

import fails from "./chapters/fails.css";
import live from "./chapters/live.css";
import step from "./chapters/step.css";
import twin from "./chapters/twin.css";
import why from "./chapters/why.css";
import page from "./style.css";

export default [page, live, twin, step, why, fails].join("");
