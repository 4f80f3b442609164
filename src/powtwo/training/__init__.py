"""Training of the float network.

params         the section `train` of params.yaml
loop           epochs of steps, each followed by a validation
steps          the steps of an epoch, launched one operator after another
graph          the same as one launch each, on a GPU
trainer        one step: forward, backward, optimizer, running average of the weights
learning_rate  the schedules: a learning rate for each step
draws          everything random of an epoch, drawn before it begins
augment        what these draws make of a batch of images
history        loss and accuracy of each epoch, and the best weights so far
checkpoints    where a run stands, saved after every epoch
processes      several processes that share each batch
devices        CPU or GPU: made ready, described, asked for its precision and memory
reporting      learning curves, progress, metrics
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "augment": ["TrainingImages"],
        "checkpoints": ["Checkpoints"],
        "draws": ["AugmentParams", "AugmentSampler"],
        "history": ["Best", "Epoch", "Measure", "evaluate"],
        "learning_rate": ["learning_rates"],
        "loop": ["Fit", "TrainingError", "fit"],
        "params": ["Augment", "Train"],
        "processes": ["Group"],
        "trainer": ["Trainer"],
    },
)
