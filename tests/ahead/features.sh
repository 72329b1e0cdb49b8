#!/bin/sh
# features.sh NNLC SOURCE: networks of several kinds, each trained by nnlc and by the C functions that nnlc built of it: the same bits,
# also of the forward pass.
set -eu
nnlc=$1 source=$2
cc=${CC:-cc}
command -v "$cc" >/dev/null || { echo "skipped: no C compiler"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
failed=0

# Usage: network NAME ROWS STEPS FIRST X_TYPE Y_TYPE [OPTIONS of build] <program. The program ends with the training of `net` on x and y.
network() {
  name=$1 rows=$2 steps=$3 first=$4 x_type=$5 y_type=$6
  shift 6
  mkdir "$name"
  (
    cd "$name"
    cat >net.nnl
    "$nnlc" run net.nnl --no-progress &&
    "$nnlc" build net.nnl --export net --train --batch "$rows" -o out "$@" >/dev/null &&
    "$cc" -std=c99 -Wall -Wextra -Wpedantic -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
      -DROWS="$rows" ${extra:+"-DEXTRA=$extra"} -DSTEPS="$steps" -DFIRST="\"$first\"" -DX_TYPE="$x_type" -DY_TYPE="$y_type" -Iout "$source/tests/ahead/harness.c" out/libnet.a -lm -o c &&
    ./c &&
    cmp nnl.safetensors c.safetensors
  ) && echo "ok     $name" || { echo "FAILED $name"; failed=1; }
}

# Schedule, momentum, clipping; preparation of the input in front of the step.
network regression 32 24 weight float float <<'END'
seed 3
layer Line() {
  param weight: [6, 1] = normal()
  param offset: [1] = 0.0
  forward(x: [N, 6]) -> [N, 1] { x @ weight + offset }
}
layer Data() {
  state a_x: [32, 6] = 0.0
  state b_y: [32, 1] = 0.0
  state c_out: [32, 1] = 0.0
  forward(x: [32, 6], y: [32, 1], out: [32, 1]) -> [32, 1] {
    a_x = x
    b_y = y
    c_out = out
    out
  }
}
let x = randn([32, 6])
let y = randn([32, 1])
let net = Line()
let opt = SGD(net, lr = one_cycle(peak = 0.1, total = 24), momentum = 0.9, nesterov = true)
for i in 0..24 { minimize(opt, clip_norm = 0.5) { mse_loss(net(x), y) } }
let data = Data()
let _ = data(x, y, net(x))
save(net, "nnl.safetensors")
save(data, "data.safetensors")
END
# Indices: the gradient of an embedding adds at places that are data. Dropout; labels; per-group rates.
network embedding 40 12 table int32_t int32_t <<'END'
layer Words() {
  param table: [20, 8] = normal()
  drop = Dropout(0.3)
  head = Linear(24, 5)
  forward(x: class(20)[N, 3]) -> [N, 5] { table[x] |> view(N, 24) |> tanh |> drop |> head }
}
layer Data() {
  state a_x: i32[40, 3] = 0
  state b_y: i32[40] = 0
  state c_out: [40, 5] = 0.0
  forward(x: class(20)[40, 3], y: class(5)[40], out: [40, 5]) -> [40, 5] {
    a_x = i32(x)
    b_y = i32(y)
    c_out = out
    out
  }
}
let x = cast(randint(0, 20, [40, 3]), class(20))
let y = cast(randint(0, 5, [40]), class(5))
let net = Words()
let opt = AdamW(groups = [{params: net.head, lr: 3e-2}, {params: net.table}], lr = multi_step(1e-2, [4, 8]))
for i in 0..12 { minimize(opt) { cross_entropy(net(x), y) } }
let data = Data()
let _ = data(x, y, net(x))
save(net, "nnl.safetensors")
save(data, "data.safetensors")
END

# Sorting and running sums; running statistics; two draws a step; an optimizer of the program's own; f64.
network sorting 12 9 running double double <<'END'
optimizer Signs(lr: float = 0.01) {
  state seen = zeros_like(param)
  update(param, grad) {
    seen = 0.5 * seen + grad
    param = param - lr * sign(seen) * (1.0 + 1.0 / step)
  }
}
layer Sorted() {
  state running: f64[7] = 1.0
  param weight: f64[7] = uniform(-1.0, 1.0)
  forward(x: f64[N, 7]) -> [N] {
    if training { running = 0.9 * running + 0.1 * mean(x, axis = 0) }
    let noisy = if training { x + 0.1 * cast(rand([N, 7]), f64) } else { x }
    let (sorted, _) = sort(noisy * weight, axis = 1)
    f32(sum(cumsum(sorted, axis = 1) * running, axis = 1))
  }
}
layer Data() {
  state a_x: f64[12, 7] = 0.0
  state b_y: f64[12] = 0.0
  state c_out: [12] = 0.0
  forward(x: f64[12, 7], y: f64[12], out: [12]) -> [12] {
    a_x = x
    b_y = y
    c_out = out
    out
  }
}
let x = cast(randn([12, 7]), f64)
let y = cast(randn([12]), f64)
let net = Sorted()
let opt = Signs(net, lr = cosine(0.05, total = 9))
for i in 0..9 { minimize(opt) { mean(square(net(x) - f32(y))) + 0.0 * mean(dropout(f32(x), 0.5)) } }
let data = Data()
let _ = data(x, y, net(x))
save(net, "nnl.safetensors")
save(data, "data.safetensors")
END
# Gradients that are added, scaled and clipped before the update.
network gradients 16 8 first.weight float float <<'END'
layer Two() {
  first  = Linear(5, 4)
  second = Linear(4, 1)
  forward(x: [N, 5]) -> [N, 1] { x |> first |> tanh |> second }
}
layer Data() {
  state a_x: [16, 5] = 0.0
  state b_y: [16, 1] = 0.0
  state c_out: [16, 1] = 0.0
  forward(x: [16, 5], y: [16, 1], out: [16, 1]) -> [16, 1] {
    a_x = x
    b_y = y
    c_out = out
    out
  }
}
let x = randn([16, 5])
let y = randn([16, 1])
let net = Two()
let opt = Adam(net, lr = 0.01)
for i in 0..8 {
  let (loss, g) = grad(net) { mse_loss(net(x), y) }
  let (_, h) = grad(net) { mean(abs(net(x))) }
  opt.update(clip_norm(g + h * 0.1, 0.3))
  print(loss)
}
let data = Data()
let _ = data(x, y, net(x))
save(net, "nnl.safetensors")
save(data, "data.safetensors")
END
# The rate follows the loop's counter, which is an argument then; a second result, which nobody wants; names that C doesn't know; a Sequential; two optimizers.
extra=', i, NULL'
network counter 16 10 0.gewicht_ü float float --prefix net <<'END'
layer Skala(breite: int) {
  param gewicht_ü: [breite] = 1.0
  forward(x: [N, breite]) -> [N, breite] { x * gewicht_ü }
}
layer Data() {
  state a_x: [16, 6] = 0.0
  state b_y: [16, 2] = 0.0
  state c_out: [16, 2] = 0.0
  forward(x: [16, 6], y: [16, 2], out: [16, 2]) -> [16, 2] {
    a_x = x
    b_y = y
    c_out = out
    out
  }
}
let x = randn([16, 6])
let y = randn([16, 2])
let net = Sequential(Skala(6), Linear(6, 5), GELU(), Dropout(0.1), Linear(5, 2))
let judge = Linear(2, 1)
let fast = Adam(net, lr = 0.01, betas = (0.8, 0.9), amsgrad = true)
let slow = RMSprop(judge, lr = 0.001)
var total = 0.0
for i in 0..10 {
  fast.lr = 0.1 / (i + 1)
  let scaled = clamp(x, -2.0, 2.0)
  let _, out = minimize(fast) {
    let out = net(scaled)
    (mean(square(out - y)) - 0.01 * mean(judge(out)), out)
  }
  total = total + float(mean(out))
}
print(total)
minimize(slow) { mean(judge(y)) }
let data = Data()
let _ = data(x, y, net(x))
save(net, "nnl.safetensors")
save(data, "data.safetensors")
END
extra=
[ $failed = 0 ]
