"""Encoder and decoder as they are trained; docs/translating.md draws them.

Shapes: B pairs, S source tokens, T target tokens, E embedding_size, H hidden_size, A attention_size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgegru.translation.config import TranslatorNetworkConfig

Memory = tuple[Tensor, Tensor, Tensor]  # values (B, S, H), keys (B, S, A), which of them are there (B, S)


class TranslatorNetwork(nn.Module):
    """An encoder that gives a value and a key for each token, and a decoder that attends to them.

    Attention is that of Bahdanau et al. 2014 (arXiv:1409.0473), its query the state of the decoder's first layer after
    the last token: so no layer waits for another's next step, and all steps of a sentence are learned at once. The
    decoder's embedding is its last matrix too (Press & Wolf 2017, arXiv:1608.05859). ``tokens``: of source and target.
    """

    def __init__(self, config: TranslatorNetworkConfig, tokens: tuple[int, int], seed: int) -> None:
        super().__init__()
        self.config = config
        size, hidden = config.embedding_size, config.hidden_size
        with torch.random.fork_rng(devices=[]):  # torch's layers draw weights of their own
            torch.manual_seed(seed)
            self.source_embedding, self.target_embedding = (nn.Embedding(count, size) for count in tokens)
            self.encoder = nn.ModuleList()
            for layer in range(config.encoder_layers):
                self.encoder.append(nn.GRU(hidden if layer else size, hidden, batch_first=True))
            self.key = nn.Linear(hidden, config.attention_size)
            self.decoder0 = nn.GRU(size, hidden, batch_first=True)
            self.query = nn.Linear(hidden, config.attention_size, bias=False)
            self.attention = nn.Parameter(torch.randn(config.attention_size) * config.attention_size**-0.5)
            self.decoder1 = nn.GRU(2 * hidden, hidden, batch_first=True)
            self.hidden = nn.Linear(2 * hidden, size)
            self.bias = nn.Parameter(torch.zeros(tokens[1]))
            for embedding in (self.source_embedding, self.target_embedding):
                nn.init.normal_(embedding.weight, std=size**-0.5)
        self.embedding_dropout, self.dropout = nn.Dropout(config.embedding_dropout), nn.Dropout(config.dropout)

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """source (B, S) and how many tokens of each there are (B,) → what the decoder attends to."""
        values = self.embedding_dropout(self.source_embedding(source))
        for index, layer in enumerate(self.encoder):
            outputs = self.dropout(layer(values)[0])
            values = values + outputs if index else outputs
        there = torch.arange(source.shape[1], device=source.device) < lengths.unsqueeze(1)
        return values, self.key(values), there

    def decode(self, target: Tensor, memory: Memory) -> Tensor:
        """target (B, T), each beginning with the end's token → what comes next (B, T, tokens), before the softmax."""
        values, keys, there = memory
        first = self.dropout(self.decoder0(self.embedding_dropout(self.target_embedding(target)))[0])
        scores = torch.tanh(self.query(first).unsqueeze(2) + keys.unsqueeze(1)) @ self.attention  # (B, T, S)
        shares = scores.masked_fill(~there.unsqueeze(1), -torch.inf).softmax(-1)
        context = shares @ values
        second = self.dropout(self.decoder1(torch.cat([first, context], -1))[0])
        last = self.dropout(torch.tanh(self.hidden(torch.cat([second, context], -1))))
        return nn.functional.linear(last, self.target_embedding.weight, self.bias)
