"""ResNet-50 and MobileNetV3-large, layer by layer as in torchvision, for the peers that bring no such model.

`net` makes the layers: `unit` (convolution without a bias, then batch norm), `max_pool`, `mean` over pixels, `dense`, `relu`, `hard_swish`,
`hard_sigmoid`. It takes its parameters in the order in which they are asked for.
"""

PARAMETERS = {"resnet50": 25_557_032, "mobilenet": 5_483_032}

# Kernel, expanded channels, output channels, squeeze and excite, hard swish, stride.
LARGE = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]


def resnet50(net, x):
    x = net.max_pool(net.relu(net.unit(x, 64, 7, 2)))
    for stage, times in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(times):
            stride = 2 if stage and not block else 1
            y = net.relu(net.unit(x, width, 1))
            y = net.relu(net.unit(y, width, 3, stride))
            y = net.unit(y, 4 * width, 1)
            x = net.relu(y + (x if block else net.unit(x, 4 * width, 1, stride)))
    return net.dense(net.mean(x), 1000)


def of_eight(channels):
    rounded = max((channels + 4) // 8 * 8, 8)
    return rounded + 8 if 10 * rounded < 9 * channels else rounded


def mobilenet(net, x):
    x, before = net.hard_swish(net.unit(x, 16, 3, 2)), 16
    for kernel, expanded, filters, squeezed, swishes, stride in LARGE:
        act, y = net.hard_swish if swishes else net.relu, x
        if expanded != before:
            y = act(net.unit(y, expanded, 1))
        y = act(net.unit(y, expanded, kernel, stride, depthwise=True))
        if squeezed:
            inner = net.relu(net.dense(net.mean(y), of_eight(expanded // 4)))
            y = y * net.hard_sigmoid(net.dense(inner, expanded))[:, None, None, :]
        y = net.unit(y, filters, 1)
        x = y + x if stride == 1 and before == filters else y
        before = filters
    x = net.hard_swish(net.unit(x, 6 * before, 1))
    return net.dense(net.hard_swish(net.dense(net.mean(x), 1280)), 1000)


MODELS = {"resnet50": resnet50, "mobilenet": mobilenet}
