// The rules of meddet/evaluate/operating.py (is_called) and errors.py (judge), in the same order of operations.
const KINDS = {
  right: "right", missed: "missed", flip: "class_flip", duplicate: "duplicate", localisation: "localisation",
  synchondrosis: "background.c2_synchondrosis", thoracic: "background.thoracic", other: "background.other",
};
const PROTRUSION = 0, LEAST_IOU = 0.5, NEAR_IOU = 0.1, LEAST_DISCS = 3;

function overlap(one, other, round) {
  const width = round(Math.max(round(Math.min(one[2], other[2]) - Math.max(one[0], other[0])), 0));
  const height = round(Math.max(round(Math.min(one[3], other[3]) - Math.max(one[1], other[1])), 0));
  const area = (box) => round(round(box[2] - box[0]) * round(box[3] - box[1]));
  const shared = round(width * height);
  return round(shared / round(round(area(one) + area(other)) - shared));
}

const exact = (value) => value;

function boxAt(boxes, row) {
  return [boxes[4 * row], boxes[4 * row + 1], boxes[4 * row + 2], boxes[4 * row + 3]];
}

// Rows of the detections that are called, by falling score. Python compares boxes as float32 here.
function calledRows(found, thresholds, nms) {
  const counts = [];
  for (let row = 0; row < found.scores.length; row += 1) {
    if (found.scores[row] > thresholds[found.labels[row]]) counts.push(row);
  }
  const protrusions = counts.filter((row) => found.labels[row] === PROTRUSION).map((row) => boxAt(found.boxes, row));
  const limit = Math.fround(nms);
  const kept = counts.filter((row) => {
    if (found.labels[row] === PROTRUSION) return true;
    const box = boxAt(found.boxes, row);
    return !protrusions.some((each) => overlap(box, each, Math.fround) > limit);
  });
  return kept.sort((one, other) => found.scores[other] - found.scores[one] || one - other);
}

// As numpy's argmax: the first of equals, and NaN above all.
function largest(values) {
  let best = 0;
  for (let row = 1; row < values.length; row += 1) {
    if (values[row] > values[best] || (Number.isNaN(values[row]) && !Number.isNaN(values[best]))) best = row;
  }
  return best;
}

function rightCalls(iou, labels, truth) {
  const right = new Map(), taken = new Set();
  iou.forEach((overlaps, row) => {
    if (!truth.labels.length) return;
    const own = overlaps.map((value, disc) => (labels[row] === truth.labels[disc] ? value : -1));
    const best = largest(own);
    if (own[best] >= LEAST_IOU && !taken.has(best)) {
      right.set(row, best);
      taken.add(best);
    }
  });
  return right;
}

// One verdict for each call and each annotated disc.
function judge(found, truth, thresholds, nms) {
  const rows = calledRows(found, thresholds, nms);
  const boxes = rows.map((row) => boxAt(found.boxes, row));
  const discs = truth.labels.map((_, row) => boxAt(truth.boxes, row));
  const iou = boxes.map((box) => discs.map((disc) => overlap(box, disc, exact)));
  const right = rightCalls(iou, rows.map((row) => found.labels[row]), truth);
  const owner = new Map([...right.values()].map((disc) => [disc, "found"]));
  const near = new Set();
  const calls = rows.map((row, place) => ({
    row, box: boxes[place], label: found.labels[row], score: found.scores[row], kind: KINDS.right,
    disc: right.has(place) ? right.get(place) : -1,
  }));
  calls.forEach((call, place) => {
    if (right.has(place)) return;
    const best = discs.length ? largest(iou[place]) : -1;
    const shared = discs.length ? iou[place][best] : 0;
    if (shared < NEAR_IOU) {
      call.kind = placeInBackground(call.box, discs, truth.levels);
      return;
    }
    call.disc = best;
    if (shared < LEAST_IOU) {
      call.kind = KINDS.localisation;
      near.add(best);
    } else if (owner.has(best)) {
      call.kind = KINDS.duplicate;
    } else {
      call.kind = KINDS.flip;
      owner.set(best, KINDS.flip);
    }
  });
  const outcome = (_, disc) => owner.get(disc) ?? (near.has(disc) ? KINDS.localisation : KINDS.missed);
  return { calls, discs: discs.map(outcome) };
}

function median(values) {
  const sorted = [...values].sort((one, other) => one - other), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// What lies where a call found no disc: the column goes on beyond its ends.
function placeInBackground(box, discs, levels) {
  if (discs.length < LEAST_DISCS) return KINDS.other;
  const order = discs.map((_, row) => row);
  order.sort((one, other) => discs[one][1] + discs[one][3] - discs[other][1] - discs[other][3] || one - other);
  const centreOf = (each) => [(each[0] + each[2]) / 2, (each[1] + each[3]) / 2];
  const centres = order.map((row) => centreOf(discs[row]));
  const steps = centres.slice(1).map((each, row) => [each[0] - centres[row][0], each[1] - centres[row][1]]);
  const lengths = steps.map((step) => Math.hypot(...step));
  const pitch = median(lengths), last = steps.length - 1, centre = centreOf(box);
  if (pitch === 0 || !lengths[0] || !lengths[last]) return KINDS.other;
  const above = [0, 1].map((axis) => centres[0][axis] - (pitch * steps[0][axis]) / lengths[0]);
  const top = levels[order[0]], bottom = levels[order[order.length - 1]];
  const isAbove = Math.hypot(centre[0] - above[0], centre[1] - above[1]) <= pitch / 2;
  if ((top < 0 || top === 0) && isAbove) return KINDS.synchondrosis;
  const across = steps[last][0] / lengths[last], along = steps[last][1] / lengths[last];
  const end = centres[centres.length - 1], x = centre[0] - end[0], y = centre[1] - end[1];
  const isBelow = x * across + y * along >= pitch / 2 && Math.abs(x * along - y * across) <= pitch;
  return (bottom < 0 || bottom === 5) && isBelow ? KINDS.thoracic : KINDS.other;
}
