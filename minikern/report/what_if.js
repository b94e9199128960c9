"use strict";
// The arithmetic of the sliders: what a model made of boots says of a setting.
// setting: {places: [a place for each axis], factors: [a factor for each unit cost]}.
// Where loose_ms is 0 the total is exact; else it may be error_ms off.
function curveAt(curve, factor) {
  const f = curve.factors, t = curve.totals_ms;
  let high = 1;
  while (high < f.length - 1 && factor >= f[high]) high++;
  return t[high - 1] + (factor - f[high - 1]) / (f[high] - f[high - 1]) * (t[high] - t[high - 1]);
}
function knotsAround(axis, knots, place) {
  if (knots.length === 1) return [[0, 1]];
  const values = knots.map(knot => axis.positions[knot].value), value = axis.positions[place].value;
  let high = 1;
  while (high < values.length - 1 && value >= values[high]) high++;
  const share = (value - values[high - 1]) / (values[high] - values[high - 1]);
  return [[high - 1, 1 - share], [high, share]];
}
function pairBeyond(model, pair, places) {
  const found = {total_ms: 0, around_ms: 0, pieces: model.curves.map(() => 0)};
  const [rows, columns] = pair.axes.map((axis, side) =>
    knotsAround(model.axes[axis], pair.knots[side], places[axis]));
  for (const [row, high] of rows) for (const [column, wide] of columns) {
    const cell = pair.beyond[row][column], weight = high * wide;
    found.total_ms += weight * cell.total_ms;
    found.around_ms += Math.abs(weight * cell.total_ms);
    cell.pieces.forEach((count, index) => { found.pieces[index] += weight * count; });
  }
  return found;
}
function whatIf(model, setting) {
  const moved = setting.places.map((place, axis) => place !== model.axes[axis].own);
  const own = model.single[0][model.axes[0].own].pieces, pieces = own.slice();
  let total = model.total_ms, loose = 0;
  setting.places.forEach((place, axis) => {
    if (!moved[axis]) return;
    const here = model.single[axis][place];
    total += here.total_ms - model.total_ms;
    here.pieces.forEach((count, index) => { pieces[index] += count - own[index]; });
  });
  for (const pair of model.pairs) {
    if (!moved[pair.axes[0]] || !moved[pair.axes[1]]) continue;
    const beyond = pairBeyond(model, pair, setting.places);
    total += beyond.total_ms;
    beyond.pieces.forEach((count, index) => { pieces[index] += count; });
    if (!pair.exact) loose += beyond.around_ms;
  }
  model.curves.forEach((curve, index) => {
    const factor = setting.factors[index];
    if (factor === 1) return;
    if (curve.serial) { total += pieces[index] * curve.unit_ns * (factor - 1) / 1e6; return; }
    const place = setting.places[1], alone = Math.max(model.single[1][place].pieces[index], 1);
    const here = {factors: curve.factors, totals_ms: model.by_cpus[index][place]};
    total += (curveAt(here, factor) - curveAt(here, 1)) * pieces[index] / alone;
    loose += Math.abs(pieces[index] * curve.unit_ns * (factor - 1)) / 1e6;
  });
  if (loose < 1e-6) loose = 0; // what sums of fractions leave
  // A wait for the timer always may end a tick sooner or later.
  const error = model.error_share * loose + Math.max(model.error_share, 1) * model.tick_ms;
  return {total_ms: total, loose_ms: loose, error_ms: loose ? error : 0};
}
